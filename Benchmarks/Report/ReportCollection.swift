import FoundationEssentials

/// Several reports together: those of a folder, or of a release in one file.
extension Report {
    /// - Parameter path: a folder of reports, or a file that `write(_:goals:to:)` made.
    static func all(in path: String) throws -> [Report] {
        if path.hasSuffix(".json") {
            guard let bytes = try? Data(contentsOf: URL(filePath: path)) else {
                throw BenchError("\(path) cannot be read")
            }
            do {
                return try JSONDecoder().decode([Report].self, from: bytes)
            } catch {
                throw BenchError("\(path) holds no reports that 'flotilla-bench goals --out' wrote: \(error)")
            }
        }
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".json") }.sorted()
        } catch {
            throw BenchError("\(path) cannot be read: \(error)")
        }
        guard !names.isEmpty else {
            throw BenchError("there are no reports in \(path); 'make bench-peers' makes them")
        }
        return try names.map { try Report(readingFrom: "\(path)/\($0)") }
    }

    /// Writes `PATH.json` with every sample, and `PATH.html`.
    static func write(_ reports: [Report], goals: String, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let content = "<h1>Goals</h1><pre>\(escaped(goals))</pre>" + reports.map(\.content).joined()
        do {
            try encoder.encode(reports).write(to: URL(filePath: path + ".json"))
            try Data(page("Flotilla: \(reports.first?.commit ?? "")", content).utf8)
                .write(to: URL(filePath: path + ".html"))
        } catch {
            throw BenchError("\(path).json or .html cannot be written: \(error)")
        }
    }
}
