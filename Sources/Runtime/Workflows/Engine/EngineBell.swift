import FlotillaIO

/// Whether an engine has a task, and what that waits for: rings that come while one is unheard are the same ring. A part of
/// the engine's state, under its lock.
struct EngineBell {
    private enum State {
        /// The engine has no task. Can transition to: called, finished.
        case absent
        /// A task is on its way. Can transition to: rung, finished.
        case called
        /// Can transition to: rung, waiting, absent, finished.
        case silent
        /// Can transition to: silent, finished.
        case rung
        /// Can transition to: silent, finished.
        case waiting(CheckedContinuation<Bool, Never>)
        case finished
    }

    /// What is to be done about a ring.
    enum Reaction {
        case none
        /// Somebody has to give the engine a task.
        case call
        /// With true.
        case resume(CheckedContinuation<Bool, Never>)
    }

    private var state = State.absent

    var isFinished: Bool { if case .finished = state { true } else { false } }

    var hasTask: Bool {
        switch state {
        case .absent, .finished: false
        case .called, .silent, .rung, .waiting: true
        }
    }

    mutating func ring() -> Reaction {
        switch state {
        case .absent:
            state = .called
            return .call
        case .silent:
            state = .rung
            return .none
        case .called, .rung, .finished: return .none
        case .waiting(let waiter):
            state = .silent
            return .resume(waiter)
        }
    }

    /// The engine has a task from now on.
    /// - Returns: whether there is anything to do.
    mutating func enter() -> Bool {
        switch state {
        case .called:
            state = .rung
            return true
        case .absent, .silent, .rung, .waiting, .finished: return false
        }
    }

    /// Nobody is to wait any more.
    /// - Returns: whom to resume with false, and whether the engine has a task that sees the end.
    mutating func finish() -> (waiter: CheckedContinuation<Bool, Never>?, seesEnd: Bool) {
        defer { state = .finished }
        switch state {
        case .absent, .called: return (nil, false)
        case .silent, .rung, .finished: return (nil, true)
        case .waiting(let waiter): return (waiter, true)
        }
    }

    /// - Parameter mayLeave: nothing is left to do: where nobody has rung the task may end.
    /// - Returns: what to resume the waiter with at once; nil where it has to wait.
    mutating func wait(_ waiter: CheckedContinuation<Bool, Never>, mayLeave: Bool = false) -> Bool? {
        switch state {
        case .silent:
            state = mayLeave ? .absent : .waiting(waiter)
            return mayLeave ? false : nil
        case .rung:
            state = .silent
            return true
        case .absent, .called, .waiting: preconditionFailure("two tasks wait for one bell")
        case .finished: return false
        }
    }
}

/// How far an engine is with telling its group that this node runs workflows.
struct EngineRegistration {
    /// Which one is in force, as far as is known.
    var number: UInt64?
    /// It is to register, or again.
    private(set) var isWanted = false
    private(set) var isUnderWay = false
    /// No new one: the node is about to stop.
    private(set) var isOver = false

    mutating func want() { isWanted = true }

    /// - Returns: whether to begin one now.
    mutating func begin() -> Bool {
        guard isWanted, !isUnderWay, !isOver else { return false }
        isWanted = false
        isUnderWay = true
        return true
    }

    mutating func end() { isUnderWay = false }

    /// What the group says by now: also of one that is under way.
    mutating func note(isRegistered: Bool) { isWanted = !isRegistered }

    mutating func leave() { isOver = true }
}

extension WorkflowEngine {
    func ring() { react(to: state.withLock { $0.bell.ring() }) }

    /// A part of what the engine's task does is done.
    func ringIfIdle() { react(to: state.withLock { $0.isIdle ? $0.bell.ring() : .none }) }

    private func react(to ring: EngineBell.Reaction) {
        switch ring {
        case .none: break
        case .call: environment.context.calls.mark(environment.group)
        case .resume(let waiter): waiter.resume(returning: true)
        }
    }

    /// Nothing is done any more. Any thread.
    func end() {
        let (waiter, seesEnd) = state.withLock { $0.bell.finish() }
        waiter?.resume(returning: false)
        if !seesEnd { didEnd() }
    }

    /// Waits for a ring.
    /// - Returns: false once the engine is to end, the task is cancelled, or nothing is left to do.
    func nextRing() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let known = state.withLock { $0.bell.wait(waiter, mayLeave: $0.isIdle) }
                if let known { waiter.resume(returning: known) }
            }
        } onCancel: {
            end()
        }
    }
}
