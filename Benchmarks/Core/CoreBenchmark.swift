import CAllocations
import FlotillaIO
import FlotillaRaft
import Glibc

/// `flotilla-bench core`: what the Raft core itself costs.
enum CoreBenchmark {
    static let command = CommandDescription(
        "flotilla-bench core",
        summary: "Measures time and allocations per proposal in the Raft core: one group, three replicas in memory.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 5)"),
            .value("proposals", "N", "proposals per run (default: 200000)"),
            .value("bytes", "N", "size of a proposal's payload (default: 128)"), reportOption,
        ])

    struct Figure {
        var nanoseconds: Double
        var allocations: Double
    }

    private static let batchSizes = [1, 64]
    /// The log is compacted as often as a snapshot would.
    private static let entriesPerSnapshot = 10_000

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 5
        let proposals = try options.number("proposals", in: 1_000...100_000_000) ?? 200_000
        let bytes = try options.number("bytes", in: 0...1_000_000) ?? 128
        let conditions = [
            "a proposal, from the leader until all 3 replicas have applied it; no disk, no network\(Self.buildNote)"
        ]
        try await withReport(
            "core", options, parameters: ["bytes": "\(bytes)", "proposals": "\(proposals)"], conditions: conditions
        ) { recorder in
            for batch in batchSizes {
                for run in 1...runs {
                    recorder.progress.update("batches of \(batch), run \(run) of \(runs)")
                    try Task.checkCancellation()
                    let figure = measure(batch: batch, proposals: proposals, bytes: bytes)
                    recorder.add(figure.nanoseconds, "ns/proposal", "batches of \(batch)")
                    recorder.add(figure.allocations, "allocations/proposal", "batches of \(batch)")
                }
            }
        }
    }

    /// Figures of a debug build check every invariant after every step; nobody should compare them.
    static var buildNote: String {
        #if DEBUG
            ", in a DEBUG build"
        #else
            ""
        #endif
    }

    static func measure(batch: Int, proposals: Int, bytes: Int) -> Figure {
        var group = MemoryGroup(replicas: 3)
        let payloads = [[UInt8]](repeating: [UInt8](repeating: 7, count: bytes), count: batch)
        // Arrays find their sizes first.
        for _ in 0..<max(1, 1_000 / batch) { group.commit(payloads) }
        group.compact()
        var nanoseconds: UInt64 = 0
        var allocations: UInt64 = 0
        var done = 0
        while done < proposals {
            let allocationsBefore = callocations_count()
            let start = now()
            for _ in 0..<max(1, entriesPerSnapshot / batch) {
                group.commit(payloads)
                done += batch
            }
            nanoseconds += now() - start
            allocations += callocations_count() - allocationsBefore
            group.compact()
        }
        return Figure(
            nanoseconds: Double(nanoseconds) / Double(done), allocations: Double(allocations) / Double(done))
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
