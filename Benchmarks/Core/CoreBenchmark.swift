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
            .value("bytes", "N", "size of a proposal's payload (default: 128)"),
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
        let progress = Progress()
        var table = TextTable(
            ["batch", "ns/proposal (median)", "least", "most", "allocations/proposal"], rightAligned: [0, 1, 2, 3, 4])
        for batch in batchSizes {
            var figures: [Figure] = []
            for run in 1...runs {
                progress.update("batches of \(batch), run \(run) of \(runs)")
                try Task.checkCancellation()
                figures.append(measure(batch: batch, proposals: proposals, bytes: bytes))
            }
            let times = figures.map(\.nanoseconds)
            table.add([
                "\(batch)", rounded(Statistics.median(times) ?? 0, 0), rounded(times.min() ?? 0, 0),
                rounded(times.max() ?? 0, 0), rounded(Statistics.median(figures.map(\.allocations)) ?? 0, 2),
            ])
        }
        progress.clear()
        progress.line(
            "A proposal of \(bytes) bytes, from the leader until all 3 replicas have applied it; no disk, no network; "
                + "\(proposals) proposals, \(runs) runs\(Self.buildNote):\n\n" + table.text)
    }

    /// Figures of a debug build check every invariant after every step; nobody should compare them.
    private static var buildNote: String {
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
