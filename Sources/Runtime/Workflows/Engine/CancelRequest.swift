import FlotillaIO

/// Tells the body of a run that its end was asked for. It stays told.
final class CancelRequest: Sendable {
    private struct State {
        var isMade = false
        var sleepers = Registrations<Promise<Void>>()
    }
    private let state = Lock(State())

    var isMade: Bool { state.withLock { $0.isMade } }

    func make() {
        let sleepers = state.withLock { state in
            state.isMade = true
            defer { state.sleepers = Registrations() }
            return state.sleepers
        }
        for sleeper in sleepers.values { sleeper.fulfill(()) }
    }

    /// Wakes a sleeper when the request is made; at once if it is.
    func wake(_ sleeper: Promise<Void>) {
        let isMade = state.withLock { state in
            if !state.isMade { state.sleepers.add(sleeper, of: sleeper) }
            return state.isMade
        }
        if isMade { sleeper.fulfill(()) }
    }

    func forget(_ sleeper: Promise<Void>) { state.withLock { $0.sleepers.remove(sleeper) } }
}
