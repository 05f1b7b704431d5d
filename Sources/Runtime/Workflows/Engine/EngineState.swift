import FlotillaIO

/// A run that the group has given to this node.
struct Assignment: Hashable, Sendable {
    var key: RunKey
    var epoch: UInt64
}

/// What the engine remembers besides the group's state.
struct EngineState {
    struct Running {
        var epoch: UInt64
        var stop: Promise<RunExecution.Stop>
        var cancel: CancelRequest
        /// Nil until the record is read.
        var execution: RunExecution?
    }

    /// The group's changes come here.
    var isAttached = false
    var hasStopped = false
    var registration = EngineRegistration()
    var bell = EngineBell()

    /// What the supervisor has not seen yet; at most `WorkflowLimits.assignmentInboxMax`.
    private(set) var inbox: [RunKey: UInt64] = [:]
    /// The inbox overflowed, or there was none yet: read all of this node's runs from the state.
    var mustReadAll = false
    /// The latest assignment of each run that has a task here.
    private(set) var running: [RunKey: Running] = [:]
    /// Stopped, past their grace period, and not ended. By an id that `markUnresponsive` gives.
    private(set) var unresponsive: [ObjectIdentifier: RunExecution] = [:]
    private var waiters: [RunKey: Registrations<Promise<Ending>>] = [:]

    /// Whether nothing runs and nothing is to begin.
    var isIdle: Bool { running.isEmpty && inbox.isEmpty && !mustReadAll && !registration.isUnderWay }

    // MARK: Assignments

    /// Keeps an assignment for the supervisor.
    mutating func receive(_ assignment: Assignment) {
        if let here = running[assignment.key], here.epoch >= assignment.epoch { return }
        guard inbox.count < WorkflowLimits.assignmentInboxMax else {
            inbox = [:]
            mustReadAll = true
            return
        }
        inbox[assignment.key] = assignment.epoch
    }

    mutating func takeInbox() -> (assignments: [Assignment], mustReadAll: Bool) {
        defer { (inbox, mustReadAll) = ([:], false) }
        return (
            inbox.map { Assignment(key: $0.key, epoch: $0.value) }.sorted { $0.key < $1.key },
            mustReadAll
        )
    }

    /// Enters an assignment that gets a task now.
    /// - Returns: what stops it, what asks it to end, and what stops the one before; nil if there is nothing to begin.
    mutating func begin(
        _ assignment: Assignment
    ) -> (stop: Promise<RunExecution.Stop>, cancel: CancelRequest, previous: Promise<RunExecution.Stop>?)? {
        let previous = running[assignment.key]
        if let previous, previous.epoch >= assignment.epoch { return nil }
        let here = Running(epoch: assignment.epoch, stop: Promise(), cancel: CancelRequest())
        running[assignment.key] = here
        return (here.stop, here.cancel, previous?.stop)
    }

    /// The run's body begins.
    mutating func enter(_ execution: RunExecution) {
        guard running[execution.key]?.epoch == execution.epoch else { return }
        running[execution.key]?.execution = execution
    }

    mutating func end(_ assignment: Assignment) {
        if running[assignment.key]?.epoch == assignment.epoch { running[assignment.key] = nil }
    }

    mutating func markUnresponsive(_ execution: RunExecution) {
        unresponsive[ObjectIdentifier(execution)] = execution
    }

    mutating func clearUnresponsive(_ execution: RunExecution) {
        unresponsive[ObjectIdentifier(execution)] = nil
    }

    // MARK: Waiters

    mutating func add(_ waiter: Promise<Ending>, for key: RunKey) {
        waiters[key, default: Registrations()].add(waiter, of: waiter)
    }

    mutating func remove(_ waiter: Promise<Ending>, for key: RunKey) {
        waiters[key]?.remove(waiter)
        if waiters[key]?.isEmpty == true { waiters[key] = nil }
    }

    mutating func takeWaiters(for key: RunKey) -> [Promise<Ending>] {
        waiters.removeValue(forKey: key)?.values ?? []
    }

    mutating func takeAllWaiters() -> [Promise<Ending>] {
        defer { waiters = [:] }
        return waiters.sorted { $0.key < $1.key }.flatMap(\.value.values)
    }

    var awaitedKeys: [RunKey] { Array(waiters.keys) }
    var waiterCount: Int { waiters.values.reduce(0) { $0 + $1.count } }
}

/// What a waiter hears.
enum Ending: Sendable {
    case outcome(WorkflowOutcome)
    case timedOut
    case stopped
    /// The run ended and was removed.
    case removed
    /// Another group has the run from now on.
    case moved
}
