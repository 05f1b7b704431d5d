import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// `flotilla-bench log`: what the log on disk takes and gives, without groups above it.
enum LogBenchmark {
    static let command = CommandDescription(
        "flotilla-bench log",
        summary: "Measures the log on this machine's disk, beside RocksDB: entries, fsyncs, bytes, recovery, space.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 3)"),
            .value("entries", "N", "entries per run (default: 500000)"),
            .value("batch", "N", "entries per write (default: 256)"),
            .value("bytes", "N", "size of an entry's payload (default: 128)"),
            .value("recovered", "N", "entries that are read back, of 1000 groups (default: 1000000)"),
            .value("commits", "N", "entries written to see how large the log becomes (default: 1000000)"),
            .value("kept", "MIB", "a log that one group keeps, to see what it takes of memory (default: 1024)"),
        ])

    private static let groupCounts = [1, 64, 1_000]
    /// Of a life of the groups; then nothing of it is live, and its segments are used again.
    private static let lives = 4

    private struct Sizes {
        var runs, entries, batch, bytes, recovered, commits, kept: Int
    }

    static func run(_ options: ParsedOptions) async throws {
        let sizes = Sizes(
            runs: try options.number("runs", in: 1...100) ?? 3,
            entries: try options.number("entries", in: 10_000...100_000_000) ?? 500_000,
            batch: try options.number("batch", in: 1...10_000) ?? 256,
            bytes: try options.number("bytes", in: 0...100_000) ?? 128,
            recovered: try options.number("recovered", in: 1_000...10_000_000) ?? 1_000_000,
            commits: try options.number("commits", in: 10_000...100_000_000) ?? 1_000_000,
            kept: try options.number("kept", in: 1...100_000) ?? 1_024)
        let scratch = try Scratch("flotilla-log")
        defer { scratch.remove() }
        let progress = Progress()
        // First, while this process has not freed anything yet.
        let kept = try kept(sizes, scratch.path, progress)
        let throughput = try throughput(sizes, scratch.path, progress)
        let recovery = try recovery(sizes, scratch.path, progress)
        let space = try space(sizes, scratch.path, progress)
        progress.clear()
        progress.line(
            "\(sizes.entries) entries of \(sizes.bytes) bytes, \(sizes.batch) per write, in \(scratch.path), "
                + "\(sizes.runs) runs; median (least to most):\n\n\(throughput)\n\(recovery)\n\(space)\n\(kept)")
    }

    private static func figure(_ values: [Double], _ digits: Int) -> String {
        let parts = [Statistics.median(values) ?? 0, values.min() ?? 0, values.max() ?? 0].map { rounded($0, digits) }
        return "\(parts[0]) (\(parts[1]) to \(parts[2]))"
    }

    // MARK: Writing

    private struct Samples {
        var entries: [Double] = []
        var syncs: [Double] = []
        var counts: [Double] = []
        var amplification: [Double] = []
    }

    /// The stores take turns, so that whatever else the machine does is in the figures of both.
    private static func throughput(_ sizes: Sizes, _ directory: String, _ progress: Progress) throws -> String {
        var table = TextTable(
            ["active groups", "store", "entries/s", "fsyncs/s", "fsyncs", "bytes written per payload byte"],
            rightAligned: [0, 2, 3, 4, 5])
        for groups in groupCounts {
            var samples = Dictionary(uniqueKeysWithValues: MeasuredStore.allCases.map { ($0, Samples()) })
            for run in 1...sizes.runs {
                for kind in MeasuredStore.allCases {
                    progress.update("\(groups) groups, \(kind.rawValue), run \(run) of \(sizes.runs)")
                    try Task.checkCancellation()
                    let store = kind.make(in: "\(directory)/\(kind.rawValue)-\(groups)-\(run)")
                    var load = try LogLoad(store, groups: groups, bytes: sizes.bytes)
                    let before = try DiskCounts.read()
                    let start = ContinuousClock.now
                    let written = try write(sizes, groups, &load)
                    let seconds = (ContinuousClock.now - start).milliseconds / 1_000
                    let after = try DiskCounts.read()
                    try store.close()
                    let syncs = Double(after.syncs - before.syncs)
                    samples[kind]!.entries.append(Double(written) / seconds)
                    samples[kind]!.counts.append(syncs)
                    samples[kind]!.syncs.append(syncs / seconds)
                    samples[kind]!.amplification.append(
                        Double(after.bytesWritten - before.bytesWritten) / Double(max(1, written * sizes.bytes)))
                }
            }
            for kind in MeasuredStore.allCases {
                let samples = samples[kind]!
                table.add([
                    "\(groups)", kind.rawValue, figure(samples.entries, 0), figure(samples.syncs, 0),
                    figure(samples.counts, 0), figure(samples.amplification, 2),
                ])
            }
        }
        return table.text
    }

    /// Every write holds the same number of entries, of one group or of as many as there are.
    private static func write(_ sizes: Sizes, _ groups: Int, _ load: inout LogLoad) throws -> Int {
        let perBatch = min(groups, sizes.batch)
        var written = 0
        var next = 0
        for life in 1...lives {
            while written < sizes.entries * life / lives {
                let chosen = (0..<perBatch).map { (next + $0) % groups }
                next = (next + perBatch) % groups
                try load.append(max(1, sizes.batch / perBatch), to: chosen)
                written += perBatch * max(1, sizes.batch / perBatch)
            }
            if life < lives { try load.beginAgain() }
        }
        return written
    }

    // MARK: Reading back

    private static func recovery(_ sizes: Sizes, _ directory: String, _ progress: Progress) throws -> String {
        let groups = 1_000
        for kind in MeasuredStore.allCases {
            progress.update("\(sizes.recovered) entries to read back, \(kind.rawValue)")
            let store = kind.make(in: "\(directory)/\(kind.rawValue)-recovery")
            var load = try LogLoad(store, groups: groups, bytes: sizes.bytes)
            var next = 0
            while next < sizes.recovered {
                try load.append(1, to: (next..<min(next + sizes.batch, sizes.recovered)).map { $0 % groups })
                next += sizes.batch
            }
            try store.close()
        }
        var times: [MeasuredStore: [Double]] = [:]
        var timesUnclosed: [Double] = []
        for run in 1...2 * sizes.runs {
            for kind in MeasuredStore.allCases {
                progress.update("recovery \(run) of \(2 * sizes.runs), \(kind.rawValue)")
                let store = kind.make(in: "\(directory)/\(kind.rawValue)-recovery")
                let start = ContinuousClock.now
                let log = try store.open()
                let time = (ContinuousClock.now - start).milliseconds
                let found = log.groups.reduce(0) { $0 + $1.outline.count }
                guard found == sizes.recovered else {
                    throw BenchError("\(found) of \(sizes.recovered) entries are back")
                }
                // Every second time the log ends without being closed, as in a crash. RocksDB keeps its lock for as long as
                // the process lives that opened it.
                if run % 2 == 0, kind == .log {
                    timesUnclosed.append(time)
                    try store.close()
                } else {
                    times[kind, default: []].append(time)
                    if kind == .rocksdb { try store.close() }
                }
            }
        }
        let lines = MeasuredStore.allCases.map { kind in
            "\(kind.rawValue): \(sizes.recovered) entries of \(groups) groups are open again after "
                + "\(figure(times[kind] ?? [], 0)) ms"
                + (kind == .log ? ", and after a crash \(figure(timesUnclosed, 0)) ms.\n" : ".\n")
        }
        return lines.joined()
    }

    // MARK: Memory

    private static func kept(_ sizes: Sizes, _ directory: String, _ progress: Progress) throws -> String {
        let log = KeptLog(path: "\(directory)/kept", bytes: sizes.kept << 20)
        let (memory, opening, applying) = try log.measure { progress.update("\($0 >> 20) of \(sizes.kept) MiB kept") }
        let mebibytes = { (bytes: Int) in rounded(Double(bytes) / Double(1 << 20), 0) }
        return "A group that keeps \(sizes.kept) MiB of log takes \(mebibytes(memory.written - memory.before)) MiB of "
            + "memory after writing it, and \(mebibytes(memory.reopened - memory.before)) MiB after a restart, which took "
            + "\(rounded(opening.milliseconds, 0)) ms to open it and \(rounded(applying.milliseconds, 0)) ms to read it "
            + "page by page and apply it.\n"
    }

    // MARK: Space

    /// One group is busy and takes snapshots; another one holds back an early entry.
    private static func space(_ sizes: Sizes, _ directory: String, _ progress: Progress) throws -> String {
        let path = "\(directory)/space"
        let files = CountingFileSystem()
        let store = DiskLogStore(directory: path, fileSystem: files, segmentSizeLimit: 16 << 20)
        var load = try LogLoad(store, groups: 2, bytes: sizes.bytes)
        try load.append(1, to: [1])
        var largest: UInt64 = 0
        var written = 0
        var sinceSnapshot = 0
        while written < sizes.commits {
            try load.append(sizes.batch, to: [0])
            written += sizes.batch
            sinceSnapshot += sizes.batch
            guard sinceSnapshot >= 10_000 else { continue }
            sinceSnapshot = 0
            try load.compact(0)
            largest = max(largest, try files.size(of: "\(path)/log"))
            progress.update("\(written) of \(sizes.commits) commits, \(largest >> 20) MiB")
            try Task.checkCancellation()
        }
        try store.close()
        return "\(written) commits with a snapshot every 10000 beside a group that stands still: "
            + "the log never took more than \(largest >> 20) MiB, in segments of 16 MiB.\n"
    }
}
