import FlotillaIO
import Glibc

/// Something that commits entries on three replicas, and the load that it is given. Each measurement begins with empty
/// data and new processes: nobody profits from what came before.
protocol Contestant: Sendable {
    /// Stands in tables and files.
    var name: String { get }
    /// What distinguishes its measurement from that of the others.
    var conditions: String { get }
    /// Why it cannot run on this machine, and what to do; nil if it can.
    var obstacle: String? { get }
    /// - Parameter directory: empty, of this measurement's own.
    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample
}

/// One measurement.
struct LoadSample: Codable, Sendable {
    var result: LoadResult
    /// What all its processes took while it was measured, those that make the load included.
    var usage: ProcessTreeUsage
}

/// What some processes, with all that descend from them, have taken since they started.
struct ProcessTreeUsage: Codable, Sendable {
    var processorSeconds = 0.0
    var residentMebibytes = 0.0
    /// As the kernel counts what reached the block layer.
    var writtenMebibytes = 0.0
    /// Calls that read and write, by the kernel's own count.
    var calls = 0.0

    /// - Parameter roots: processes whose descendants count as well.
    static func now(_ roots: [pid_t]) -> ProcessTreeUsage {
        var usage = ProcessTreeUsage()
        let all = statistics()
        var counted: Set<pid_t> = []
        var next = roots
        while let pid = next.popLast() {
            guard counted.insert(pid).inserted, let fields = all[pid] else { continue }
            next += all.filter { pid_t($0.value[1]) == pid }.keys
            usage.add(pid, fields)
        }
        return usage
    }

    /// The fields of `/proc/PID/stat` behind the program's name, which may hold anything.
    private static func statistics() -> [pid_t: [Double]] {
        var all: [pid_t: [Double]] = [:]
        guard let directory = opendir("/proc") else { return all }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let pid = pid_t(name), let text = try? readText("/proc/\(name)/stat"),
                let start = text.lastIndex(of: ")")
            else { continue }
            let fields = text[text.index(after: start)...].split(separator: " ").map { Double($0) ?? 0 }
            if fields.count > 21 { all[pid] = fields }
        }
        return all
    }

    private mutating func add(_ pid: pid_t, _ fields: [Double]) {
        processorSeconds += (fields[11] + fields[12]) / Double(sysconf(Int32(_SC_CLK_TCK)))
        residentMebibytes += fields[21] * Double(sysconf(Int32(_SC_PAGESIZE))) / 1_048_576
        guard let io = try? readText("/proc/\(pid)/io") else { return }
        for line in io.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let value = Double(words[1]) else { continue }
            switch words[0] {
            case "syscr:", "syscw:": calls += value
            case "write_bytes:": writtenMebibytes += value / 1_048_576
            default: break
            }
        }
    }

    /// Memory stays what it is.
    func since(_ earlier: ProcessTreeUsage) -> ProcessTreeUsage {
        var usage = self
        usage.processorSeconds -= earlier.processorSeconds
        usage.writtenMebibytes -= earlier.writtenMebibytes
        usage.calls -= earlier.calls
        return usage
    }
}

/// What some servers take while nothing is asked of them: the mean of them.
struct IdleSample: Codable, Sendable {
    /// Of one processor.
    var processorPercent: Double
    /// Beyond what they took when they were empty.
    var mebibytesAboveEmpty: Double
    var mebibytesEmpty: Double

    init(empty: ProcessTreeUsage, before: ProcessTreeUsage, after: ProcessTreeUsage, nodes: Int, seconds: Double) {
        let nodes = Double(max(1, nodes))
        processorPercent = after.since(before).processorSeconds / seconds * 100 / nodes
        mebibytesAboveEmpty = (after.residentMebibytes - empty.residentMebibytes) / nodes
        mebibytesEmpty = empty.residentMebibytes / nodes
    }
}
