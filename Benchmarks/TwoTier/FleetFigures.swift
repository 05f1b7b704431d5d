import Flotilla
import FlotillaIO
import FlotillaRaft

/// What was measured of one fleet.
struct FleetFigures: Codable, Sendable {
    enum Mode: String, CaseIterable, Codable, Sendable {
        case single = "one cluster"
        case twoTier = "two tiers"
    }

    var messagesPerCheckpoint = 0.0
    var messagesPerWorkflow = 0.0
    var requestsPerWorkflow = 0.0
    var heartbeatsPerNode = 0.0
    var framesPerWorkflow = 0.0
    var checkpointsPerSecond = 0.0
    var sustainedPerSecond = 0.0
    var sustainedP50 = 0.0
    var sustainedP99 = 0.0
    var checkpointP50 = 0.0
    var checkpointP99 = 0.0
    var managementP50 = 0.0
    var managementP99 = 0.0
    var startP50 = 0.0
    var mebibytesPerNode = 0.0
    /// Of one more idle cluster, all of its replicas together; none in one cluster.
    var kibibytesPerCluster: Double?

    /// How many idle clusters are added to see what they take.
    private static let addedClusters = 20
    /// Checkpoints that are recorded one after the other, with nothing else going on.
    private static let aloneCount = 200
    private static let managementCount = 100
    /// Until what a load left in memory has gone, and new groups are quiet.
    private static let quietTime: Duration = .seconds(10)
    /// For how long a fleet may take to be what it should be.
    private static let formingLimit: Duration = .seconds(180)

    static func take(
        _ count: Int, _ mode: Mode, _ load: FleetLoadPlan, progress: Progress
    ) async throws -> FleetFigures {
        let scratch = try Scratch("flotilla-two-tier")
        defer { scratch.remove() }
        let latencies = Lock<[Double]>([])
        let recording = Workflow<Int, Int>("recording", version: 1) { count, context in
            for number in 0..<count {
                let start = ContinuousClock.now
                try await context.checkpoint("progress", number)
                let taken = (ContinuousClock.now - start).milliseconds
                latencies.withLock { $0.append(taken) }
            }
            return count
        }
        let sustained = SustainedLoad()
        let before = ProcessUsage.current()
        let fleet = try InProcessFleet(directory: scratch.path, workflows: [recording, sustained.workflow]) {
            configuration in
            configuration.handoverTimeLimit = .milliseconds(100)
            guard configuration.founds else { return }
            var policy = ExecutionClusterPolicy()
            policy.singleClusterBelow = mode == .single ? 1_000 : 1
            policy.idleTimeToLive = .seconds(3_600)
            policy.readyClusters = mode == .single ? 0 : max(1, count / policy.targetClusterSize)
            configuration.executionClusterPolicy = policy
        }
        defer { progress.clear() }
        do {
            let figures = try await fleet.run(count, progress: progress) { fleet in
                try await settle(fleet, mode)
                var figures = FleetFigures()
                let resident = ProcessUsage.current().residentKilobytes - before.residentKilobytes
                figures.mebibytesPerNode = Double(resident) / 1_024 / Double(count)
                progress.update("\(count) nodes: one checkpoint after the other")
                try await figures.measureAlone(fleet, recording, latencies)
                progress.update("\(count) nodes: under load")
                try await figures.measureLoad(fleet, recording, load, latencies)
                progress.update("\(count) nodes: under load for \(SustainedLoad.duration)")
                let steady = try await sustained.measure(fleet, workflows: load.sustainedWorkflows)
                figures.sustainedPerSecond = Double(steady.count) / (SustainedLoad.duration / .seconds(1))
                figures.sustainedP50 = Statistics.percentile(50, of: steady) ?? 0
                figures.sustainedP99 = Statistics.percentile(99, of: steady) ?? 0
                progress.update("\(count) nodes: commits of the management group")
                try await figures.measureManagement(fleet)
                if mode == .twoTier {
                    progress.update("\(count) nodes: more clusters")
                    try await figures.measureClusters(fleet)
                }
                return figures
            }
            await fleet.shutdown()
            return figures
        } catch {
            await fleet.shutdown()
            throw error
        }
    }

    /// Waits until the fleet is what it should be: in two tiers the clusters that the load needs are there.
    private static func settle(_ fleet: InProcessFleet, _ mode: Mode) async throws {
        guard mode == .twoTier else { return }
        let node = fleet.nodes[0]
        let policy = try await node.policy()
        let deadline = ContinuousClock.now + formingLimit
        while true {
            let clusters = try await node.clusters(withLeaders: true)
            let isSettled =
                clusters.count >= policy.readyClusters
                && clusters.allSatisfy { $0.phase == "active" && !$0.spansFleet && $0.leader != nil }
            if isSettled { return }
            guard ContinuousClock.now < deadline else {
                throw BenchError("the fleet is not in two tiers after \(formingLimit): \(clusters)")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: Measurements

    private mutating func measureAlone(
        _ fleet: InProcessFleet, _ workflow: Workflow<Int, Int>, _ latencies: Lock<[Double]>
    ) async throws {
        // The first one makes connections and files warm.
        _ = try await fleet.nodes[0].start(workflow, id: "warm", input: 10).result()
        let before = try await FleetCounters.sum(fleet)
        let begun = ContinuousClock.now
        _ = try await fleet.nodes[0].start(workflow, id: "alone", input: Self.aloneCount).result()
        let duration = ContinuousClock.now - begun
        let busy = try await FleetCounters.sum(fleet) - before
        // What the fleet says without them in the same time.
        try await Task.sleep(for: duration)
        let idle = try await FleetCounters.sum(fleet) - before - busy
        messagesPerCheckpoint = max(0, busy.messages - idle.messages) / Double(Self.aloneCount)
    }

    private mutating func measureLoad(
        _ fleet: InProcessFleet, _ workflow: Workflow<Int, Int>, _ load: FleetLoadPlan,
        _ latencies: Lock<[Double]>
    ) async throws {
        latencies.withLock { $0 = [] }
        let before = try await FleetCounters.sum(fleet)
        let begun = ContinuousClock.now
        let starts = try await withThrowingTaskGroup(of: Double.self) { group in
            for number in 0..<load.workflows {
                let node = fleet.nodes[number % fleet.nodes.count]
                group.addTask {
                    let start = ContinuousClock.now
                    let run = try await node.start(workflow, id: "load-\(number)", input: load.checkpoints)
                    let taken = (ContinuousClock.now - start).milliseconds
                    _ = try await run.result()
                    return taken
                }
            }
            var taken: [Double] = []
            for try await one in group { taken.append(one) }
            return taken
        }
        let seconds = (ContinuousClock.now - begun) / .seconds(1)
        let counted = try await FleetCounters.sum(fleet) - before
        let workflows = Double(load.workflows)
        let taken = latencies.withLock { $0 }
        messagesPerWorkflow = counted.messages / workflows
        requestsPerWorkflow = counted.requests / workflows
        framesPerWorkflow = counted.frames / workflows
        heartbeatsPerNode = counted.heartbeats / seconds / Double(fleet.nodes.count)
        checkpointsPerSecond = workflows * Double(load.checkpoints) / seconds
        checkpointP50 = Statistics.percentile(50, of: taken) ?? 0
        checkpointP99 = Statistics.percentile(99, of: taken) ?? 0
        startP50 = Statistics.median(starts) ?? 0
    }

    private mutating func measureManagement(_ fleet: InProcessFleet) async throws {
        var taken: [Double] = []
        let policy = try await fleet.nodes[0].policy()
        for number in 0..<Self.managementCount {
            var changed = policy
            changed.loadLimit = number.isMultiple(of: 2) ? 0.79 : 0.8
            let start = ContinuousClock.now
            try await fleet.nodes[0].setPolicy(changed)
            taken.append((ContinuousClock.now - start).milliseconds)
        }
        managementP50 = Statistics.percentile(50, of: taken) ?? 0
        managementP99 = Statistics.percentile(99, of: taken) ?? 0
    }

    /// What idle clusters take of the heap.
    private mutating func measureClusters(_ fleet: InProcessFleet) async throws {
        try await Task.sleep(for: Self.quietTime)
        let before = try await fleet.nodes[0].clusters(withLeaders: true).count
        let heap = ProcessUsage.current().heapBytes
        var policy = try await fleet.nodes[0].policy()
        // Those that are there are ready, since nothing runs.
        policy.readyClusters = before + Self.addedClusters
        try await fleet.nodes[0].setPolicy(policy)
        try await Self.settle(fleet, .twoTier)
        try await Task.sleep(for: Self.quietTime)
        let added = try await fleet.nodes[0].clusters(withLeaders: true).count - before
        guard added > 0 else { throw BenchError("no clusters were added to \(before)") }
        kibibytesPerCluster = Double(ProcessUsage.current().heapBytes - heap) / 1_024 / Double(added)
    }
}

/// What all nodes of a fleet have counted.
struct FleetCounters: Sendable {
    /// Of groups, to other nodes.
    var messages = 0.0
    var requests = 0.0
    var heartbeats = 0.0
    var frames = 0.0

    static func sum(_ fleet: InProcessFleet) async throws -> FleetCounters {
        var sum = FleetCounters()
        for node in fleet.nodes {
            let counters = try await node.trafficCounters()
            sum.messages += Double(counters.groupMessages)
            sum.requests += Double(counters.requests)
            sum.heartbeats += Double(counters.heartbeats)
            sum.frames += Double(counters.frames)
        }
        return sum
    }

    static func - (a: FleetCounters, b: FleetCounters) -> FleetCounters {
        FleetCounters(
            messages: a.messages - b.messages, requests: a.requests - b.requests,
            heartbeats: a.heartbeats - b.heartbeats, frames: a.frames - b.frames)
    }
}
