import FlotillaActors
import FlotillaIO

/// What commits of three members notice while three more nodes fetch the state. Windows with and without a transfer take
/// turns, in one cluster, so that whatever else the machine does is in both.
struct CommitLatency {
    /// What the loops are busy with.
    enum Phase: String, CaseIterable {
        case taking = "taking"
        case idle = "no transfer"
        case sending = "sending"
        case receiving = "receiving"
        case installing = "installing"
    }

    /// Medians of the windows' 99th percentiles, in milliseconds.
    var without: Double
    var with: Double
    /// While the gate was open: MiB/s of the three together.
    var speed: Double
    /// In milliseconds.
    var stalls: [Phase: Double]

    private static let clients = 8
    private static let pause: Duration = .milliseconds(15)
    private static let window: Duration = .seconds(1)
    /// For what was under way at the last turn.
    private static let settling: Duration = .milliseconds(200)
    private static let members: ClosedRange<UInt64> = 1...3
    private static let followers: ClosedRange<UInt64> = 4...6

    static func measure(_ state: [UInt8], _ settings: GroupSettings) async throws -> CommitLatency {
        try await SnapshotsBenchmark.withFleet(settings, state) { fleet in
            try await fleet.start(members)
            try await fleet.wait("voters") {
                let report = try await fleet.report(1)
                return report?.voters.count == 3 && report?.outgoingVoters.isEmpty == true
            }
            _ = fleet.takeLongestLag(members)
            try await SnapshotsBenchmark.compact(fleet, members)
            let taking = fleet.takeLongestLag(members)
            // What storing the snapshots has left to the disk is not to be measured.
            try await Task.sleep(for: .seconds(3))
            fleet.gate.close()
            try await fleet.start(followers)
            let group = try await fleet.group(1)
            let commits = Commits(group)
            return try await withThrowingTaskGroup(of: Void.self) { tasks in
                for _ in 0..<clients { tasks.addTask { try await commits.run(pause) } }
                defer { commits.stop() }
                var latency = try await takeTurns(
                    fleet, commits, chunks: state.count / settings.snapshotFiles.chunkBytes,
                    chunkMebibytes: Double(settings.snapshotFiles.chunkBytes) / 1_048_576)
                latency.stalls[.taking] = taking
                commits.stop()
                try await tasks.waitForAll()
                return latency
            }
        }
    }

    private static func takeTurns(
        _ fleet: GroupFleet, _ commits: Commits, chunks: Int, chunkMebibytes: Double
    ) async throws -> CommitLatency {
        var (without, with): ([Double], [Double]) = ([], [])
        var stalls: [Phase: Double] = [:]
        var (open, gained) = (Duration.zero, 0)
        let clock = ContinuousClock()
        func note(_ phase: Phase, _ nodes: ClosedRange<UInt64>) {
            stalls[phase] = max(stalls[phase] ?? 0, fleet.takeLongestLag(nodes))
        }
        while true {
            let before = try await fetched(fleet, chunks)
            guard before < chunks * followers.count else { break }
            try await Task.sleep(for: settling)
            _ = fleet.takeLongestLag(1...6)
            without.append(try await commits.p99(over: window))
            note(.idle, 1...6)
            fleet.gate.open()
            let start = clock.now
            let value = try await commits.p99(over: window)
            note(.sending, members)
            note(.receiving, followers)
            // The last window is cut short by the end, and says nothing.
            let now = try await fetched(fleet, chunks)
            if now < chunks * followers.count {
                open += start.duration(to: clock.now)
                gained += now - before
                with.append(value)
                fleet.gate.close()
            }
        }
        try await fleet.wait("installation") {
            for node in followers where try await fleet.report(node)?.snapshotsInstalled != 1 { return false }
            return true
        }
        note(.installing, followers)
        guard let without = Statistics.median(without), let with = Statistics.median(with) else {
            throw BenchError("the state was fetched within one window; take a larger one, or a lower limit")
        }
        return CommitLatency(
            without: without, with: with, speed: Double(gained) * chunkMebibytes / (open / .seconds(1)), stalls: stalls)
    }

    /// Chunks that the followers have, together.
    private static func fetched(_ fleet: GroupFleet, _ chunks: Int) async throws -> Int {
        var sum = 0
        for node in followers { sum += min(chunks, Int(try await fleet.report(node)?.snapshotChunksFetched ?? 0)) }
        return sum
    }
}

/// Clients that propose one after the other, and how long each proposal took.
private final class Commits: Sendable {
    private let group: RaftGroup
    private let samples = Lock<[Duration]>([])
    private let isDone = Lock(false)

    init(_ group: RaftGroup) { self.group = group }

    func run(_ pause: Duration) async throws {
        let clock = ContinuousClock()
        while !isDone.withLock({ $0 }) {
            let start = clock.now
            _ = try await group.propose([SnapshotsBenchmark.operation], ownerEpoch: 0)
            let taken = start.duration(to: clock.now)
            samples.withLock { $0.append(taken) }
            try await Task.sleep(for: pause)
        }
    }

    func stop() { isDone.withLock { $0 = true } }

    /// In milliseconds.
    func p99(over window: Duration) async throws -> Double {
        samples.withLock { $0 = [] }
        try await Task.sleep(for: window)
        guard let value = Statistics.percentile(99, of: samples.withLock { $0 }) else {
            throw BenchError("nothing was committed meanwhile")
        }
        return value.milliseconds
    }
}
