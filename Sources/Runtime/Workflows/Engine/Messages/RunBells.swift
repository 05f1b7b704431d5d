import FlotillaIO

/// Tells those who wait for something in a run's state that it has changed.
///
/// Whoever waits takes a bell first and looks at the state then: what comes in between rings. The bells are a part of the
/// engine's state, under its lock.
struct RunBells: Sendable {
    private let state: Lock<EngineState>

    init(of state: Lock<EngineState>) { self.state = state }

    /// Nothing rings any more, once the engine has stopped.
    var isClosed: Bool { state.withLock { $0.hasStopped } }

    /// A bell that rings once, at the next change of the run. At once if nothing will ring any more.
    func bell(for key: RunKey) -> Promise<Void> {
        let bell = Promise<Void>()
        let isClosed = state.withLock { state in
            if !state.hasStopped { state.bells[key, default: Registrations()].add(bell, of: bell) }
            return state.hasStopped
        }
        if isClosed { bell.fulfill(()) }
        return bell
    }

    func giveBack(_ bell: Promise<Void>, for key: RunKey) {
        state.withLock { state in
            state.bells[key]?.remove(bell)
            if state.bells[key]?.isEmpty == true { state.bells[key] = nil }
        }
    }

    /// - Parameter keys: nil for all runs.
    func ring(_ keys: [RunKey]?) {
        let bells = state.withLock { state -> [Promise<Void>] in
            guard !state.bells.isEmpty else { return [] }
            guard let keys else {
                defer { state.bells = [:] }
                return state.bells.sorted { $0.key < $1.key }.flatMap(\.value.values)
            }
            return keys.flatMap { state.bells.removeValue(forKey: $0)?.values ?? [] }
        }
        for bell in bells { bell.fulfill(()) }
    }
}
