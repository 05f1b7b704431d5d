import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// `flotilla-bench snapshots`: how fast snapshots are stored and handed on, and what commits notice of it.
enum SnapshotsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench snapshots",
        summary: "Measures snapshots: storing, fetching, and the latency of commits meanwhile.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 3)"),
            .value("mebibytes", "N", "size of the state (default: 100)"),
            .value("limit", "N", "what a node hands out at most, in MiB/s (default: the product's)"),
            reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 3
        let mebibytes = try options.number("mebibytes", in: 2...1_024) ?? 100
        var settings = GroupSettings()
        if let limit = try options.number("limit", in: 1...10_000) { settings.snapshotBytesPerSecond = limit << 20 }
        let state = Ballast.text(bytes: mebibytes << 20)
        let limit = settings.snapshotBytesPerSecond.map { "\($0 >> 20) MiB/s" } ?? "none"
        try await withReport(
            "snapshots", options, parameters: ["MiB": "\(mebibytes)", "a node's limit where there is one": limit],
            conditions: ["nodes of one process on one disk, loopback"]
        ) { recorder in
            for run in 1...runs {
                for isCompressed in [false, true] {
                    recorder.progress.update("storing, run \(run) of \(runs)")
                    let report = try await store(state, isCompressed: isCompressed)
                    let name = isCompressed ? "stored by zstd" : "stored plain"
                    recorder.add(
                        Double(mebibytes) / (report.duration / .seconds(1)), "\(name): MiB/s", isBetterHigher: true)
                    recorder.add(Double(report.storedBytes) / 1_048_576, "\(name): MiB on disk")
                }
                recorder.progress.update("one follower, no limit, run \(run) of \(runs)")
                let fetch = try await fetchOnce(state)
                recorder.add(
                    Double(mebibytes) / fetch.transfer, "fetched by one follower, no limit: MiB/s", isBetterHigher: true
                )
                recorder.add(
                    Double(mebibytes) / fetch.installed, "until it was durable and installed: MiB/s",
                    isBetterHigher: true)
                recorder.progress.update("three followers, run \(run) of \(runs)")
                add(try await CommitLatency.measure(state, settings), to: recorder)
            }
        }
    }

    static let p99Without = "p99 of commits without a transfer, ms"
    static let p99With = "p99 while three followers fetch, ms"

    private static func add(_ latency: CommitLatency, to recorder: Recorder) {
        recorder.add(latency.without, p99Without)
        recorder.add(latency.with, p99With)
        recorder.add((latency.with / latency.without - 1) * 100, "rise of p99, %")
        recorder.add(latency.speed, "fetched by the three together: MiB/s", isBetterHigher: true)
        for phase in CommitLatency.Phase.allCases {
            recorder.add(latency.stalls[phase] ?? 0, "longest stall of a loop, \(phase.rawValue), ms")
        }
    }

    // MARK: Storing

    private static func store(_ state: [UInt8], isCompressed: Bool) async throws -> SnapshotStore.SaveReport {
        try await withScratch { path in
            let loop = EventLoop(name: "bench")
            try loop.start()
            let worker = try ThreadWorker(name: "bulk")
            var options = SnapshotStore.Options()
            options.isCompressed = isCompressed
            let store = SnapshotStore(
                directory: path, files: PosixFileSystem(), executor: WorkerExecutor(worker, loop: loop),
                options: options)
            let id = SnapshotID(group: GroupFleet.group, incarnation: 1, index: LogIndex(1), term: Term(1))
            _ = try await store.open(for: RecoveredLog())
            let report = try await store.save(state, as: id)
            await worker.shutdown()
            await loop.shutdown()
            return report
        }
    }

    // MARK: Fetching

    /// In seconds since the first chunk arrived.
    private struct Fetch {
        var transfer: Double
        var installed: Double
    }

    /// Of entries: more than a measurement commits after its first snapshot.
    private static let threshold = 20_000

    static func withFleet<Value>(
        _ settings: GroupSettings, _ state: [UInt8], _ body: (GroupFleet) async throws -> Value
    ) async throws -> Value {
        var settings = settings
        settings.snapshotThreshold = threshold
        settings.entriesKeptBehindSnapshot = 0
        return try await withScratch { path in
            let fleet = GroupFleet(directory: path, settings: settings, state: state)
            do {
                let value = try await body(fleet)
                await fleet.stop()
                return value
            } catch {
                await fleet.stop()
                throw error
            }
        }
    }

    /// Proposes until `nodes` have a snapshot, and their logs no beginning.
    static func compact(_ fleet: GroupFleet, _ nodes: ClosedRange<UInt64>) async throws {
        let group = try await fleet.group(1)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<64 {
                tasks.addTask {
                    while try await group.report().snapshotIndex == .zero {
                        _ = try await group.propose([operation], ownerEpoch: 0)
                    }
                }
            }
            try await tasks.waitForAll()
        }
        try await fleet.wait("snapshots") {
            for node in nodes where try await fleet.report(node)?.snapshotIndex == .zero { return false }
            return true
        }
    }

    static let operation = Operation(type: 1, version: 1, body: Array(repeating: 7, count: 128))

    private static func fetchOnce(_ state: [UInt8]) async throws -> Fetch {
        var settings = GroupSettings()
        settings.snapshotBytesPerSecond = nil
        return try await withFleet(settings, state) { fleet in
            try await fleet.start(1...1)
            try await compact(fleet, 1...1)
            let clock = ContinuousClock()
            try await fleet.start(2...2)
            let chunks = UInt64(state.count / settings.snapshotFiles.chunkBytes)
            try await fleet.wait("first chunk") { try await fleet.report(2)?.snapshotChunksFetched ?? 0 > 0 }
            let start = clock.now
            try await fleet.wait("last chunk") { try await fleet.report(2)?.snapshotChunksFetched ?? 0 >= chunks }
            let transfer = start.duration(to: clock.now)
            try await fleet.wait("installation") { try await fleet.report(2)?.snapshotsInstalled == 1 }
            return Fetch(
                transfer: transfer / .seconds(1), installed: start.duration(to: clock.now) / .seconds(1))
        }
    }

    static func withScratch<Value>(_ body: (String) async throws -> Value) async throws -> Value {
        let scratch = try Scratch("flotilla-snapshots")
        defer { scratch.remove() }
        return try await body(scratch.path)
    }
}
