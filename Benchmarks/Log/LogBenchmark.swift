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
            reportOption,
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
        try await withReport(
            "log", options,
            parameters: [
                "entries": "\(sizes.entries)", "bytes": "\(sizes.bytes)", "entries per write": "\(sizes.batch)",
            ],
            conditions: ["in \(Scratch.parent); a log that is opened again after a crash has no clean end"]
        ) { recorder in
            // First, while this process has not freed anything yet.
            try kept(sizes, scratch.path, recorder)
            try throughput(sizes, scratch.path, recorder)
            try recovery(sizes, scratch.path, recorder)
            try space(sizes, scratch.path, recorder)
        }
    }

    // MARK: Writing

    /// The stores take turns, so that whatever else the machine does is in the figures of both.
    private static func throughput(_ sizes: Sizes, _ directory: String, _ recorder: Recorder) throws {
        for groups in groupCounts {
            for run in 1...sizes.runs {
                for kind in MeasuredStore.allCases {
                    recorder.progress.update("\(groups) groups, \(kind.rawValue), run \(run) of \(sizes.runs)")
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
                    let payload = Double(max(1, written * sizes.bytes))
                    func add(_ value: Double, _ name: String, isBetterHigher: Bool = false) {
                        recorder.add(
                            value, name, "\(groups) active groups", of: kind.rawValue, isBetterHigher: isBetterHigher)
                    }
                    add(Double(written) / seconds, "entries/s", isBetterHigher: true)
                    add(syncs / seconds, "fsyncs/s", isBetterHigher: true)
                    add(syncs, "fsyncs")
                    add(Double(after.bytesWritten - before.bytesWritten) / payload, "bytes written per payload byte")
                }
            }
        }
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

    private static func recovery(_ sizes: Sizes, _ directory: String, _ recorder: Recorder) throws {
        let groups = 1_000
        for kind in MeasuredStore.allCases {
            recorder.progress.update("\(sizes.recovered) entries to read back, \(kind.rawValue)")
            let store = kind.make(in: "\(directory)/\(kind.rawValue)-recovery")
            var load = try LogLoad(store, groups: groups, bytes: sizes.bytes)
            var next = 0
            while next < sizes.recovered {
                try load.append(1, to: (next..<min(next + sizes.batch, sizes.recovered)).map { $0 % groups })
                next += sizes.batch
            }
            try store.close()
        }
        for run in 1...2 * sizes.runs {
            for kind in MeasuredStore.allCases {
                recorder.progress.update("recovery \(run) of \(2 * sizes.runs), \(kind.rawValue)")
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
                let isCrash = run % 2 == 0 && kind == .log
                recorder.add(
                    time, isCrash ? "opened after a crash, ms" : "opened, ms",
                    "\(sizes.recovered) entries of \(groups) groups", of: kind.rawValue)
                if isCrash || kind == .rocksdb { try store.close() }
            }
        }
    }

    // MARK: Memory

    private static func kept(_ sizes: Sizes, _ directory: String, _ recorder: Recorder) throws {
        let log = KeptLog(path: "\(directory)/kept", bytes: sizes.kept << 20)
        let (memory, opening, applying) = try log.measure {
            recorder.progress.update("\($0 >> 20) of \(sizes.kept) MiB kept")
        }
        let setting = "a group that keeps \(sizes.kept) MiB"
        let mebibytes = { (bytes: Int) in Double(bytes) / Double(1 << 20) }
        let store = MeasuredStore.log.rawValue
        recorder.add(mebibytes(memory.written - memory.before), "MiB of memory after writing it", setting, of: store)
        recorder.add(mebibytes(memory.reopened - memory.before), "MiB of memory after a restart", setting, of: store)
        recorder.add(opening.milliseconds, "opened, ms", setting, of: store)
        recorder.add(applying.milliseconds, "read page by page and applied, ms", setting, of: store)
    }

    // MARK: Space

    /// One group is busy and takes snapshots; another one holds back an early entry.
    private static func space(_ sizes: Sizes, _ directory: String, _ recorder: Recorder) throws {
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
            recorder.progress.update("\(written) of \(sizes.commits) commits, \(largest >> 20) MiB")
            try Task.checkCancellation()
        }
        try store.close()
        recorder.add(
            Double(largest >> 20), "most MiB on disk, in segments of 16 MiB",
            "\(written) commits, a snapshot every 10000, beside a group that stands still",
            of: MeasuredStore.log.rawValue)
    }
}
