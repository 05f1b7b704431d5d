import FlotillaIO

/// Tasks that wait for groups to come or to go. Once the node has stopped, the loop and the workers that would answer are
/// on their way out: nobody waits for them any more.
final class PendingChanges: Sendable {
    private struct State {
        var waiting: [UInt64: CheckedContinuation<GroupError?, Never>] = [:]
        var last: UInt64 = 0
        var failure: GroupError?
    }

    private let state = Lock(State())

    /// Waits for the outcome of a change. Not cancelled with the task: what was begun is finished.
    /// - Parameter begin: begins it; whoever ends it calls `finish` with the number.
    func wait(_ begin: (_ number: UInt64) -> Void) async throws {
        let failure = await withCheckedContinuation { continuation in
            let number: Result<UInt64, GroupError> = state.withLock { state in
                if let failure = state.failure { return .failure(failure) }
                state.last += 1
                state.waiting[state.last] = continuation
                return .success(state.last)
            }
            switch number {
            case .success(let number): begin(number)
            case .failure(let failure): continuation.resume(returning: failure)
            }
        }
        if let failure { throw failure }
    }

    /// - Parameter failure: nil where it is done.
    func finish(_ number: UInt64, _ failure: GroupError?) {
        state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(returning: failure)
    }

    /// Refuses what waits, and what comes.
    func close(_ reason: GroupError) {
        let waiting = state.withLock { state in
            state.failure = state.failure ?? reason
            defer { state.waiting = [:] }
            return state.waiting
        }
        for (_, continuation) in waiting.sorted(by: { $0.key < $1.key }) { continuation.resume(returning: reason) }
    }
}
