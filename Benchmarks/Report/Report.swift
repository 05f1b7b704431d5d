import FlotillaIO
import FoundationEssentials
import Glibc

/// All that a run has measured, as it stands in its JSON file: enough to doubt it, and to compare it with another run.
struct Report: Codable, Sendable {
    /// Of the layout that this program writes, and the only one that it reads.
    static let layout = 2

    var version = layout
    var scenario: String
    /// What all of it was measured with, such as bytes = 128: figures of other parameters are other figures. How often
    /// something was measured is none.
    var parameters: [String: String] = [:]
    /// ISO 8601.
    var began: String
    /// False where it was interrupted or failed: what is there was measured all the same.
    var isComplete = false
    /// What was measured; "changed" behind it where the tree was not clean.
    var commit: String
    var machine = Machine.current()
    /// How each contestant was measured, and what is unequal.
    var conditions: [String] = []
    var measures: [Measure] = []

    /// One figure of one contestant, with every sample in the order of its rounds.
    struct Measure: Codable, Sendable, Hashable {
        /// What is measured, such as "entries/s".
        var name: String
        /// With what, such as "16 in flight".
        var setting: String
        var contestant: String
        var isBetterHigher: Bool
        var samples: [Double]

        var median: Double { Statistics.median(samples) ?? 0 }
        var least: Double { samples.min() ?? 0 }
        var most: Double { samples.max() ?? 0 }

        /// How it is called in a sentence.
        var title: String { "\(contestant), \(setting), \(name)" }

        func isSameFigure(as other: Measure) -> Bool {
            name == other.name && setting == other.setting && contestant == other.contestant
        }
    }

    init(scenario: String) {
        self.scenario = scenario
        began = Date.now.ISO8601Format()
        let hash = Machine.output(of: ["git", "rev-parse", "--short=12", "HEAD"])
        let changes = Machine.output(of: ["git", "status", "--porcelain", "--untracked-files=no"])
        commit = hash.isEmpty ? "unknown" : changes.isEmpty ? hash : hash + ", changed"
    }

    /// Adds a sample to its figure.
    mutating func add(
        _ value: Double, _ name: String, _ setting: String, of contestant: String, isBetterHigher: Bool
    ) {
        let new = Measure(
            name: name, setting: setting, contestant: contestant, isBetterHigher: isBetterHigher, samples: [value])
        if let place = measures.firstIndex(where: { $0.isSameFigure(as: new) }) {
            measures[place].samples.append(value)
        } else {
            measures.append(new)
        }
    }

    func measure(_ name: String, _ setting: String, of contestant: String) -> Measure? {
        measures.first { $0.name == name && $0.setting == setting && $0.contestant == contestant }
    }

    /// Round by round, what one contestant did of what another did.
    func ratios(_ name: String, _ setting: String, of contestant: String, to other: String) -> [Double] {
        guard let mine = measure(name, setting, of: contestant), let theirs = measure(name, setting, of: other) else {
            return []
        }
        return zip(mine.samples, theirs.samples).filter { $0.1 > 0 }.map { $0.0 / $0.1 }
    }

    // MARK: Files

    /// Writes `PATH.json` and `PATH.html`.
    func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        do {
            try encoder.encode(self).write(to: URL(filePath: path + ".json"))
            try Data(html.utf8).write(to: URL(filePath: path + ".html"))
        } catch {
            throw BenchError("\(path).json or .html cannot be written: \(error)")
        }
    }

    init(readingFrom path: String) throws {
        /// What every layout has.
        struct Layout: Decodable { var version: Int }
        let bytes: Data
        let version: Int
        do {
            bytes = try Data(contentsOf: URL(filePath: path))
            version = try JSONDecoder().decode(Layout.self, from: bytes).version
        } catch {
            throw BenchError("\(path) is no report of flotilla-bench: \(error)")
        }
        guard version == Self.layout else {
            throw BenchError(
                "\(path) has layout \(version), and this program reads \(Self.layout): use the flotilla-bench that wrote "
                    + "it, or measure again")
        }
        do {
            self = try JSONDecoder().decode(Report.self, from: bytes)
        } catch {
            throw BenchError("\(path) has layout \(version) and lacks a part of it: \(error)")
        }
    }
}

/// What a measurement ran on.
struct Machine: Codable, Hashable, Sendable {
    var processor: String
    var cores: Int
    /// By the kernel's word; 0 where it has none.
    var megahertz: Double
    var memoryMebibytes: Int
    var kernel: String
    var system: String
    /// How many processes were ready to run, on average over a minute, before the first measurement.
    var loadBefore: Double

    static func current() -> Machine {
        func lines(_ path: String) -> [Substring] { ((try? readText(path)) ?? "").split(separator: "\n") }
        func value(_ key: String, in path: String, by separator: Character) -> String {
            let line = lines(path).first { $0.hasPrefix(key) }
            return line?.split(separator: separator).dropFirst().first.map { $0.trimming(" \t\"") } ?? "unknown"
        }
        let memory = value("MemTotal", in: "/proc/meminfo", by: ":").split(separator: " ").first.flatMap { Int($0) }
        return Machine(
            processor: value("model name", in: "/proc/cpuinfo", by: ":"),
            cores: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))),
            megahertz: Double(value("cpu MHz", in: "/proc/cpuinfo", by: ":")) ?? 0,
            memoryMebibytes: (memory ?? 0) / 1_024,
            kernel: ((try? readText("/proc/sys/kernel/osrelease")) ?? "unknown").trimming("\n"),
            system: value("PRETTY_NAME", in: "/etc/os-release", by: "="),
            loadBefore: (try? readText("/proc/loadavg"))?.split(separator: " ").first.flatMap { Double($0) } ?? 0)
    }

    /// The first line that a program prints; empty where it fails.
    static func output(of words: [String]) -> String {
        guard let pipe = popen(words.joined(separator: " ") + " 2>/dev/null", "r") else { return "" }
        defer { pclose(pipe) }
        var buffer = [CChar](repeating: 0, count: 200)
        guard fgets(&buffer, Int32(buffer.count), pipe) != nil else { return "" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).trimming("\n")
    }
}

extension StringProtocol {
    fileprivate func trimming(_ characters: String) -> String {
        var text = self[...]
        while let first = text.first, characters.contains(first) { text = text.dropFirst() }
        while let last = text.last, characters.contains(last) { text = text.dropLast() }
        return String(text)
    }
}
