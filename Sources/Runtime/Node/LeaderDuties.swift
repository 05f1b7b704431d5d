package import FlotillaActors
import FlotillaIO
package import FlotillaRaft

/// What a node looks after in the execution clusters that it leads: executors that are gone, and runs that are kept no
/// longer. A group is looked at when something in it has changed, when a node that it has a member on is lost, or when the
/// time of a run is over; one that stands still costs nothing. Where that is many groups at once they take turns.
package final class LeaderDuties: Sendable {
    private struct State {
        /// To be looked at with the next ticks.
        var noted = GroupQueue()
        /// When runs are kept no longer, by the wall clock.
        var due = DueTimes()
        /// When what was proposed is looked for, by the loop's clock: a leader may lose its place before it is applied.
        var awaited = DueTimes()
        /// As of the last tick.
        var members: Set<NodeID> = []
        var silent: Set<NodeID> = []
    }

    private let state = Lock(State())
    private let executorTimeout: Duration
    private let retention: RetentionKeeper

    /// - Parameters:
    ///   - executorTimeout: a node that was silent for longer loses its runs.
    ///   - portion: how many runs one command removes.
    package init(executorTimeout: Duration, retention: WorkflowRetention, portion: Int) {
        self.executorTimeout = executorTimeout
        self.retention = RetentionKeeper(retention, portion: portion)
    }

    /// Something happened to a group, or in it. Any thread.
    package func note(_ group: GroupID) { state.withLock { $0.noted.add([group]) } }

    /// With every tick of the node, on its loop.
    /// - Parameter members: the nodes that belong to the fleet; none where that is not known yet.
    package func tick(_ core: NodeCore, members: Set<NodeID>) {
        for node in losses(core, members) {
            let groups = core.groups(on: node)
            state.withLock { $0.noted.add(groups) }
        }
        for group in takeTurn(core.loop.now, core.loop.wallNow) { look(at: group, core, members) }
    }

    /// - Returns: the groups to look at with this tick.
    func takeTurn(_ now: MonotonicTime, _ wallNow: WallTime) -> [GroupID] {
        state.withLock { state in
            state.noted.add(state.due.takeDue(by: wallNow.nanoseconds))
            state.noted.add(state.awaited.takeDue(by: Int64(clamping: now.nanoseconds)))
            state.noted.refill()
            return state.noted.take()
        }
    }

    /// - Returns: the nodes that have fallen silent since the last call, or have left.
    private func losses(_ core: NodeCore, _ members: Set<NodeID>) -> [NodeID] {
        let silent = members.filter { isSilent($0, core) }
        return state.withLock { state in
            defer { (state.members, state.silent) = (members, silent) }
            return silent.subtracting(state.silent).union(state.members.subtracting(members)).sorted()
        }
    }

    private func isSilent(_ node: NodeID, _ core: NodeCore) -> Bool {
        node != core.node && core.silence(of: node).map { $0 > executorTimeout } ?? false
    }

    private func look(at id: GroupID, _ core: NodeCore, _ members: Set<NodeID>) {
        let group = core.hosted[id]
        let found = group?.assumeIsolatedOnLeader { machine, configuration in
            guard let machine = machine as? WorkflowStateMachine else { return ([], RetentionKeeper.Duty.nothing) }
            var operations = machine.executors.filter { executor in
                guard executor.isAlive, executor.node != core.node else { return false }
                return configuration.replica(on: executor.node) == nil
                    || !members.isEmpty && !members.contains(executor.node) || isSilent(executor.node, core)
            }.map { WorkflowOperations.loseExecutor($0.node, registration: $0.registration) }
            let duty = retention.duty(in: machine, of: id, now: core.loop.now, wallNow: core.loop.wallNow)
            if case .ask(let operation) = duty { operations.append(operation) }
            return (operations, duty)
        }
        state.withLock { state in
            switch found {
            case (_, .later(let time))?: state.due.set(time, of: id)
            case (_, .nothing)?, (_, .ask)?, (_, .asked)?, nil: state.due.remove(id)
            }
            // What is applied is noted as well, and mostly sooner.
            switch found {
            case (true, _)?, (_, .asked)?:
                let time = core.loop.now.advanced(by: RetentionKeeper.retryInterval)
                state.awaited.set(Int64(clamping: time.nanoseconds), of: id)
            case (false, _)?, nil: state.awaited.remove(id)
            }
        }
        if found == nil { retention.forget(id) }
    }
}

/// When groups are to be looked at again, by any clock.
struct DueTimes {
    private struct Position: Hashable, Comparable, Sendable {
        var time: Int64
        var group: GroupID
        static func < (a: Position, b: Position) -> Bool { (a.time, a.group) < (b.time, b.group) }
    }

    private var times: [GroupID: Int64] = [:]
    private var order = OrderedMap<Position, Void>()

    /// - Parameter time: in nanoseconds.
    mutating func set(_ time: Int64, of group: GroupID) {
        guard times[group] != time else { return }
        remove(group)
        times[group] = time
        order.insert((), for: Position(time: time, group: group))
    }

    mutating func remove(_ group: GroupID) {
        guard let time = times.removeValue(forKey: group) else { return }
        order.remove(Position(time: time, group: group))
    }

    /// Those whose time has come, once.
    mutating func takeDue(by now: Int64) -> [GroupID] {
        var due: [GroupID] = []
        while let first = order.first?.key, first.time <= now {
            remove(first.group)
            due.append(first.group)
        }
        return due
    }
}
