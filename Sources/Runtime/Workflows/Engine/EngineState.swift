import FlotillaActors
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
        /// How often the body was put to rest although a branch of it went on.
        var restlessness = 0
        /// The body is stopped, because it only waits.
        var rest: Rest?
    }

    struct Rest {
        /// When it goes on by itself; nil where only others wake it.
        var until: Int64?
        var beganAt: MonotonicTime
        /// It has been told that the body goes on all the same.
        var isNamed = false
        /// Something has happened meanwhile, so that it goes on at once.
        var isOver = false
    }

    private let bodiesMax: Int
    /// The group's changes come here.
    var isAttached = false
    var hasStopped = false
    /// The inbox overflowed, or there was none yet: read all of this node's runs from the state.
    var mustReadAll = false
    var registration = EngineRegistration()
    var bell = EngineBell()

    /// What the supervisor has not seen yet; at most `WorkflowLimits.assignmentInboxMax`.
    private(set) var inbox: [RunKey: UInt64] = [:]
    /// The latest assignment of each run that has a task here.
    private(set) var running: [RunKey: Running] = [:]
    /// Stopped, past their grace period, and not ended. By an id that `markUnresponsive` gives.
    private(set) var unresponsive: [ObjectIdentifier: RunExecution] = [:]
    var resting = RestingRuns()
    /// Of runs that were put to rest in vain; few.
    private var restlessness: [RunKey: Int] = [:]
    /// When runs that only wait are looked for next; nil where nothing runs.
    var nextRestLook: MonotonicTime?
    var restTimer: (token: TimerToken, time: MonotonicTime)?
    /// When a few runs that are put off may begin although there is no room.
    private var squeezesInAt: MonotonicTime?
    /// See `RunBells`.
    var bells: [RunKey: Registrations<Promise<Void>>] = [:]
    private var waiters: [RunKey: Registrations<Promise<Ending>>] = [:]

    /// Whether nothing runs and nothing is to begin.
    /// What rests needs no task.
    var isIdle: Bool { running.isEmpty && inbox.isEmpty && !mustReadAll && !registration.isUnderWay }

    /// - Parameter bodiesMax: see `WorkflowLimits.replayedBodiesMax`.
    init(bodiesMax: Int = .max) { self.bodiesMax = bodiesMax }

    // MARK: Assignments

    /// Keeps an assignment for the supervisor, and wakes its run if it rests.
    /// - Parameter waitsForRoom: it is one of many, perhaps, that another node had.
    mutating func receive(_ assignment: Assignment, waitsForRoom: Bool = false) {
        if let here = running[assignment.key], here.epoch >= assignment.epoch {
            running[assignment.key]?.rest?.isOver = true
            return
        }
        // Something has happened to one that rests; and where an earlier assignment has a body here, that has to go.
        let isKnown = resting.contains(assignment) || running[assignment.key] != nil
        if waitsForRoom, !isKnown, room <= 0 { return resting.putOff(assignment) }
        resting.remove(assignment.key)
        guard inbox.count < WorkflowLimits.assignmentInboxMax else {
            inbox = [:]
            mustReadAll = true
            return
        }
        inbox[assignment.key] = assignment.epoch
    }

    /// For how many bodies more there is room.
    private var room: Int { bodiesMax - running.count - inbox.count }

    /// Of all of this node's runs those that begin now; the others are put off.
    mutating func takeRoom(for assignments: [Assignment]) -> [Assignment] {
        var count = room
        return assignments.filter { assignment in
            if let here = running[assignment.key] { return here.epoch < assignment.epoch }
            if resting.contains(assignment) { return false }
            count -= 1
            if count < 0 { resting.putOff(assignment) }
            return count >= 0
        }
    }

    /// Has runs begin that were put off, as far as there is room, or a few all the same now and then.
    /// - Returns: whether there are any.
    mutating func takeTurns(_ now: MonotonicTime, limit: Int) -> Bool {
        guard resting.hasPutOff else {
            squeezesInAt = nil
            return false
        }
        var count = min(limit, room)
        if count <= 0 {
            guard squeezesInAt.map({ $0 <= now }) ?? false else {
                squeezesInAt = squeezesInAt ?? now.advanced(by: Self.squeezePause)
                return false
            }
            count = min(limit, Self.squeezeCount)
        }
        squeezesInAt = now.advanced(by: Self.squeezePause)
        let assignments = resting.takePutOff(limit: count)
        for assignment in assignments { receive(assignment) }
        return true
    }

    /// Longer than who only waits takes to make room.
    private static let squeezePause: Duration = .milliseconds(250)
    private static let squeezeCount = 25

    mutating func takeInbox() -> (assignments: [Assignment], mustReadAll: Bool) {
        defer { (inbox, mustReadAll) = ([:], false) }
        return (
            inbox.map { Assignment(key: $0.key, epoch: $0.value) }.sorted { $0.key < $1.key },
            mustReadAll
        )
    }

    /// Something has happened to a run; where it rests it goes on.
    mutating func touch(_ key: RunKey, epoch: UInt64?) {
        running[key]?.execution?.touch()
        guard let epoch, resting.contains(Assignment(key: key, epoch: epoch)) || running[key]?.rest != nil else {
            return
        }
        receive(Assignment(key: key, epoch: epoch))
    }

    /// A run is not this node's any more.
    mutating func forget(_ key: RunKey) {
        running[key]?.rest = nil
        resting.remove(key)
        restlessness[key] = nil
    }

    /// Enters an assignment that gets a task now.
    /// - Returns: what stops it, what asks it to end, and what stops the one before; nil if there is nothing to begin.
    mutating func begin(
        _ assignment: Assignment
    ) -> (stop: Promise<RunExecution.Stop>, cancel: CancelRequest, previous: Promise<RunExecution.Stop>?)? {
        let previous = running[assignment.key]
        if let previous, previous.epoch >= assignment.epoch { return nil }
        // It came up among all of the node's runs.
        guard !resting.contains(assignment) else { return nil }
        let here = Running(
            epoch: assignment.epoch, stop: Promise(), cancel: CancelRequest(),
            restlessness: restlessness[assignment.key] ?? 0)
        running[assignment.key] = here
        return (here.stop, here.cancel, previous?.stop)
    }

    /// The run's body begins.
    mutating func enter(_ execution: RunExecution) {
        guard running[execution.key]?.epoch == execution.epoch else { return }
        running[execution.key]?.execution = execution
    }

    /// - Returns: what stops it; nil where it is not there any more.
    mutating func setRest(_ rest: Rest, of key: RunKey) -> Promise<RunExecution.Stop>? {
        running[key]?.rest = rest
        return running[key]?.stop
    }

    /// The task of an assignment has ended.
    /// - Returns: whether its run rests from now on.
    @discardableResult
    mutating func end(_ assignment: Assignment) -> Bool {
        guard let here = running[assignment.key], here.epoch == assignment.epoch else { return false }
        running[assignment.key] = nil
        guard let rest = here.rest else { return false }
        let isDisturbed = here.execution?.isDisturbed ?? false
        if isDisturbed { restlessness[assignment.key, default: 0] += 1 }
        guard !isDisturbed, !rest.isOver || mutated(.missesWakes) else {
            receive(assignment)
            return false
        }
        resting.insert(assignment, until: rest.until)
        return true
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
