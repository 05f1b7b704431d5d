package import FlotillaIO
package import FlotillaRaft
package import FlotillaSimulation

/// The nodes of one simulated world that faults can happen to. Touched on the simulation's thread only.
package protocol FaultTarget: AnyObject, Sendable {
    var world: SimulationWorld { get }
    var nodes: [NodeID] { get }
    func isRunning(_ node: NodeID) -> Bool
    /// Ends a node that runs.
    func crash(_ node: NodeID, _ end: SimulatedProcess.End) async
    /// Starts a node that does not run, on the disk that its previous life left. It need not succeed: it is tried again.
    func revive(_ node: NodeID) async
    /// Asks a node that runs to give up leadership. Does not wait for it, which may stand still.
    func transferLeadership(from node: NodeID)
}

/// Lets the faults of a schedule happen to nodes.
///
/// What lasts is not done and undone one by one, because two faults may overlap: after each beginning and each end the
/// links, loops and disks are set to what all faults that last now make of them.
package final class FaultInjector: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, like its target.
    private let target: any FaultTarget
    private let conditions: LinkConditions
    private let log: @Sendable (String) -> Void
    private var active: [FaultSchedule.Item] = []
    /// In percent; 100 where there is none.
    private var clockRates: [NodeID: UInt64] = [:]
    private var world: SimulationWorld { target.world }

    /// How often a node that should run and does not is looked for.
    private static let watchInterval: Duration = .milliseconds(500)
    /// Without faults every node starts within this time.
    private static let healingLimit: Duration = .seconds(10)
    private static let usualLatency: ClosedRange<Duration> = .microseconds(100)...(.milliseconds(2))

    /// - Parameters:
    ///   - conditions: of the links, without faults.
    ///   - log: told of each fault as it begins and ends.
    package init(
        _ target: any FaultTarget, conditions: LinkConditions = LinkConditions(),
        log: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.target = target
        self.conditions = conditions
        self.log = log
    }

    /// Plays the schedule until `end`, then heals everything.
    package func run(_ schedule: FaultSchedule, until end: MonotonicTime) async throws {
        let begin = world.now
        var moments: [(time: MonotonicTime, isStart: Bool, item: FaultSchedule.Item)] = []
        for item in schedule.items {
            moments.append((begin.advanced(by: item.start), true, item))
            moments.append((begin.advanced(by: item.start + item.duration), false, item))
        }
        // Ends of one moment come first, and a fault's own end after its start.
        let order = moments.indices.sorted { (moments[$0].time, $0) < (moments[$1].time, $1) }
        for index in order where moments[index].time < end {
            let moment = moments[index]
            try await watch(until: moment.time)
            if moment.isStart {
                await start(moment.item)
            } else {
                await finish(moment.item)
            }
            await settle()
        }
        try await watch(until: end)
        try await heal()
    }

    /// Sleeps, and starts nodes that have died of a fault.
    private func watch(until time: MonotonicTime) async throws {
        while world.now < time {
            try await world.sleep(for: min(Self.watchInterval, world.now.duration(to: time)))
            await startNodes()
        }
    }

    private func start(_ item: FaultSchedule.Item) async {
        log("fault \(item)")
        if item.duration > .zero || item.fault.nodeThatIsDown != nil { active.append(item) }
        switch item.fault {
        case .partition, .cut, .chain, .loss, .duplication, .reordering, .delay, .pause, .clockRate, .slowDisk,
            .lateCompletions:
            break
        case .reset(let a, let b): world.links.reset(a, b)
        case .kill(let node): await crash(node, .killed)
        case .powerLoss(let node, let fate): await crash(node, .powerLost(fate))
        case .powerLossAtWrite(let node, let changes, let fate):
            world.disk(of: node).losePower(afterChanges: changes, fate)
        case .wallClockJump(let node, let milliseconds):
            world.jumpWallClock(of: node, by: .milliseconds(milliseconds))
        case .transfer(let node): if target.isRunning(node) { target.transferLeadership(from: node) }
        case .failedWrite(let node): world.disk(of: node).failNext(.write)
        case .failedSync(let node): world.disk(of: node).failNext(.sync)
        }
    }

    private func finish(_ item: FaultSchedule.Item) async {
        guard let position = active.firstIndex(of: item) else { return }
        active.remove(at: position)
        log("end of fault [\(item.number)]")
        switch item.fault {
        case .powerLossAtWrite(let node, _, _): world.disk(of: node).losePower(afterChanges: nil)
        case .failedWrite(let node):
            world.disk(of: node).failNext(.write, count: 0)
            await crash(node, .killed)
        case .failedSync(let node):
            world.disk(of: node).failNext(.sync, count: 0)
            await crash(node, .killed)
        case .partition, .cut, .chain, .loss, .duplication, .reordering, .delay, .reset, .kill, .powerLoss, .pause,
            .wallClockJump, .clockRate, .transfer, .slowDisk, .lateCompletions:
            break
        }
    }

    private func heal() async throws {
        for item in active { await finish(item) }
        await settle()
        log("all faults have ended")
        try await world.wait(until: "all nodes run", within: Self.healingLimit, every: Self.watchInterval) {
            await startNodes()
            return target.nodes.allSatisfy { target.isRunning($0) }
        }
    }

    // MARK: What the active faults come to

    private func settle() async {
        world.links.conditions = conditionsNow
        world.links.healAll()
        var latencies: [NodeID: UInt64] = [:]
        var completionDelays: [NodeID: UInt64] = [:]
        var rates: [NodeID: UInt64] = [:]
        var paused: Set<NodeID> = []
        for item in active {
            switch item.fault {
            case .partition(let groups): cut(between: groups)
            case .cut(let from, let to): world.links.cut(from: from, to: to)
            case .chain(let nodes): cutAllButNeighbours(nodes)
            case .pause(let node): paused.insert(node)
            case .slowDisk(let node, let milliseconds): latencies[node] = max(latencies[node] ?? 0, milliseconds)
            case .lateCompletions(let node, let milliseconds): completionDelays[node] = milliseconds
            case .clockRate(let node, let percent): rates[node] = percent
            case .loss, .duplication, .reordering, .delay, .reset, .kill, .powerLoss, .powerLossAtWrite,
                .wallClockJump, .transfer, .failedWrite, .failedSync:
                break
            }
        }
        for node in target.nodes {
            let disk = world.disk(of: node)
            disk.latency = latencies[node].map { .microseconds(100)...(.milliseconds($0)) } ?? Self.usualLatency
            disk.completionDelay = .zero ... .milliseconds(completionDelays[node] ?? 0)
            setClockRate(of: node, percent: rates[node] ?? 100)
            if paused.contains(node) { world.process(of: node)?.pause() } else { world.process(of: node)?.resume() }
        }
        await startNodes()
    }

    private func setClockRate(of node: NodeID, percent: UInt64) {
        // Only where it changes: each change rounds the clock.
        guard clockRates[node, default: 100] != percent else { return }
        clockRates[node] = percent
        world.setClockRate(of: node, to: Double(percent) / 100)
    }

    private var conditionsNow: LinkConditions {
        var now = conditions
        for item in active {
            switch item.fault {
            case .loss(let permille): now.loss = max(now.loss, Double(permille) / 1_000)
            case .duplication(let permille): now.duplication = max(now.duplication, Double(permille) / 1_000)
            case .reordering: now.reorders = true
            case .delay(let milliseconds):
                now.delay = now.delay.lowerBound...max(now.delay.upperBound, .milliseconds(milliseconds))
            case .partition, .cut, .chain, .reset, .kill, .powerLoss, .powerLossAtWrite, .pause, .wallClockJump,
                .clockRate, .transfer, .slowDisk, .lateCompletions, .failedWrite, .failedSync:
                break
            }
        }
        return now
    }

    private func cut(between groups: [[NodeID]]) {
        for (number, group) in groups.enumerated() {
            for other in groups.dropFirst(number + 1) {
                for a in group { for b in other { cutBoth(a, b) } }
            }
        }
    }

    private func cutAllButNeighbours(_ nodes: [NodeID]) {
        for (number, node) in nodes.enumerated() {
            for other in nodes.dropFirst(number + 2) { cutBoth(node, other) }
        }
    }

    private func cutBoth(_ a: NodeID, _ b: NodeID) {
        world.links.cut(from: a, to: b)
        world.links.cut(from: b, to: a)
    }

    private func crash(_ node: NodeID, _ end: SimulatedProcess.End) async {
        if target.isRunning(node) { await target.crash(node, end) }
    }

    private func startNodes() async {
        for node in target.nodes where !target.isRunning(node) {
            let isDown = active.contains { $0.fault.nodeThatIsDown == node }
            if !isDown { await target.revive(node) }
        }
    }
}
