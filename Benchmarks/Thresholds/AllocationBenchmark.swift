import CAllocations
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Glibc

/// `flotilla-bench allocations`: counts allocations and fails when there are more than were recorded. Counts hardly
/// depend on the machine and not on its load, so a pipeline can hold a change to them, as it could not to times.
enum AllocationBenchmark {
    static let command = CommandDescription(
        "flotilla-bench allocations",
        summary: "Counts allocations per operation, and fails where they rose by more than 5 %.",
        options: [
            .value("thresholds", "FOLDER", "where the recorded counts are (default: Benchmarks/Thresholds)"),
            .flag("record", "write the counts down instead of comparing them"),
        ])

    static func run(_ options: ParsedOptions) async throws {
        let path = "\(options.string("thresholds") ?? "Benchmarks/Thresholds")/\(toolchain).txt"
        // What is made once, at the first use, is no operation's.
        _ = try measure()
        let counts = try measure()
        let again = try measure()
        // By as much as a rise may be: how far an array's room reaches depends on the block that the C library had for it.
        for (name, count) in counts where abs(again[name]! - count) > count / 20 {
            throw BenchError(
                "\(name) allocates \(count) times, or \(again[name]!): something in it depends on chance")
        }
        var table = TextTable(["operation", "allocations"], rightAligned: [1])
        for (name, count) in counts.sorted(by: { $0.key < $1.key }) { table.add([name, rounded(count, 3)]) }
        Terminal.writeLine(table.text)
        if options.has("record") {
            try writeText(AllocationThresholds(counts).text, to: path)
            return Terminal.writeLine("Written to \(path).")
        }
        let complaints = try AllocationThresholds(text: readText(path)).complaints(about: counts)
        guard complaints.isEmpty else {
            throw BenchError(complaints.joined(separator: "\n") + "\n(recorded in \(path))")
        }
        Terminal.writeLine("No more than \(path) allows.")
    }

    private static var toolchain: String {
        #if compiler(>=6.4)
            "swift-6.4"
        #elseif compiler(>=6.3)
            "swift-6.3"
        #else
            "swift-6.2"
        #endif
    }

    private static func measure() throws -> [String: Double] {
        #if DEBUG
            throw BenchError("counts of a debug build mean nothing: build with --configuration release")
        #else
            var counts: [String: Double] = [:]
            for batch in [1, 64] {
                counts["core.proposal.batch-\(batch)"] =
                    CoreBenchmark.measure(batch: batch, proposals: 20_000, bytes: 128).allocations
            }
            guard counts["core.proposal.batch-1"] != 0 else {
                throw BenchError("nothing is counted: a sanitizer brings an allocator of its own")
            }
            counts["codec.entry.encode"] = perEntry { encode($0) }
            let bytes = encode(entries(from: 1))
            counts["codec.entry.decode"] = try perEntry { _ in try decode(bytes) }
            counts["codec.command.encode"] = perEntry { entries in entries.map { _ in sample.encoded() } }
            let encoded = sample.encoded()
            counts["codec.command.decode"] = try perEntry { entries in
                try entries.map { _ in try Command(decoding: encoded) }
            }
            counts["log.entry.batch-64"] = try writeLog()
            return counts
        #endif
    }

    private static let batch = 64
    private static let batches = 100

    /// - Returns: allocations of this thread for each entry, without those for making the entries.
    private static func perEntry<Value>(_ body: ([Entry]) throws -> Value) rethrows -> Double {
        var count: UInt64 = 0
        for number in 0..<batches {
            let entries = Self.entries(from: number * batch + 1)
            let before = callocations_count()
            withExtendedLifetime(try body(entries)) {}
            count += callocations_count() - before
        }
        return Double(count) / Double(batch * batches)
    }

    static func entries(from first: Int) -> [Entry] {
        (first..<first + batch).map { index in
            Entry(
                index: LogIndex(UInt64(index)), term: Term(1), kind: .command,
                payload: [UInt8](repeating: 7, count: 128))
        }
    }

    static func encode(_ entries: [Entry]) -> [UInt8] {
        var writer = ProtobufWriter(reservingCapacity: 512)
        for entry in entries { writer.message(4) { entry.encode(into: &$0) } }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) throws -> [Entry] {
        var entries: [Entry] = []
        var reader = ProtobufReader(bytes)
        while try reader.next() != nil {
            var inner = try reader.message()
            entries.append(try Entry(from: &inner, unknownFields: .reject))
        }
        return entries
    }

    static let sample = Command(
        kind: .benchmark, featureLevel: 1, namespace: "default",
        request: RequestID(
            client: RequestID.Client(replica: ReplicaID(1), boot: 1), sequence: 1, acknowledgedBelow: 0),
        timestamp: 1, ownerEpoch: 1,
        operations: [Operation(type: 1, version: 1, body: [UInt8](repeating: 7, count: 128))])

    /// Batches of entries of one group, through the log on disk. Its calls allocate on the thread that makes them.
    private static func writeLog() throws -> Double {
        let scratch = try Scratch("flotilla-allocations")
        defer { scratch.remove() }
        let store = DiskLogStore(directory: scratch.path, fileSystem: PosixFileSystem())
        var load = try LogLoad(store, groups: 1, bytes: 128)
        try load.append(batch, to: [0])
        var count: UInt64 = 0
        for _ in 0..<batches {
            let prepared = load.prepare(batch, of: [0])
            let before = callocations_count()
            try store.write(prepared)
            count += callocations_count() - before
        }
        try store.close()
        return Double(count) / Double(batch * batches)
    }

    private static func writeText(_ text: String, to path: String) throws(BenchError) {
        guard let file = fopen(path, "w") else {
            throw BenchError("\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        let bytes = Array(text.utf8)
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else {
            throw BenchError("\(path) could not be written whole")
        }
    }
}
