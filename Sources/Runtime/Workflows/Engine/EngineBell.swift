import FlotillaIO

/// What an engine's supervisor waits for: rings that come while one is unheard are the same ring. A part of the engine's
/// state, under its lock, so that an engine that has nothing to do keeps one task and nothing else.
struct EngineBell {
    private enum State {
        /// Can transition to: rung, waiting, finished.
        case silent
        /// Can transition to: silent, finished.
        case rung
        /// Can transition to: silent, finished.
        case waiting(CheckedContinuation<Bool, Never>)
        case finished
    }

    private var state = State.silent

    /// - Returns: whom to resume with true.
    mutating func ring() -> CheckedContinuation<Bool, Never>? {
        switch state {
        case .silent:
            state = .rung
            return nil
        case .rung, .finished: return nil
        case .waiting(let waiter):
            state = .silent
            return waiter
        }
    }

    /// Nobody is to wait any more.
    /// - Returns: whom to resume with false.
    mutating func finish() -> CheckedContinuation<Bool, Never>? {
        defer { state = .finished }
        switch state {
        case .silent, .rung, .finished: return nil
        case .waiting(let waiter): return waiter
        }
    }

    /// - Returns: what to resume the waiter with at once; nil where it has to wait.
    mutating func wait(_ waiter: CheckedContinuation<Bool, Never>) -> Bool? {
        switch state {
        case .silent:
            state = .waiting(waiter)
            return nil
        case .rung:
            state = .silent
            return true
        case .waiting: preconditionFailure("two tasks wait for one bell")
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

    mutating func leave() { isOver = true }
}

extension WorkflowEngine {
    func ring() { state.withLock { $0.bell.ring() }?.resume(returning: true) }

    func finishBell() { state.withLock { $0.bell.finish() }?.resume(returning: false) }

    /// Waits for a ring.
    /// - Returns: false once the engine is to end, or the task is cancelled.
    func nextRing() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                if let known = state.withLock({ $0.bell.wait(waiter) }) { waiter.resume(returning: known) }
            }
        } onCancel: {
            finishBell()
        }
    }
}
