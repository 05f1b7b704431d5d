import FlotillaIO

/// The order in which a run received and answered messages, for the next owner's body: branches that share variables
/// get them in that order again, each once all before it have been met.
///
/// What other branches do with a message goes on while the next one is handed out: order, not a lock.
final class MessageOrder: Sendable {
    /// A branch that is gone in this life of the body does not ask again: the others wait so long for it, once.
    static let grace: Duration = .seconds(1)

    private struct State {
        /// By the group's time.
        var events: [(use: ReplayNotes.Use, time: Int64, isMet: Bool)] = []
        var places: [ReplayNotes.Use: Int] = [:]
        /// The first that is not met.
        var first = 0
        var waiters = Registrations<Promise<Bool>>()

        /// Whether everything before a time has been met.
        func isClear(before time: Int64) -> Bool { first == events.count || events[first].time >= time }

        mutating func advance() {
            while first < events.count, events[first].isMet { first += 1 }
        }

        mutating func takeWaiters() -> [Promise<Bool>] {
            defer { waiters = Registrations() }
            return waiters.values
        }
    }
    private let state: Lock<State>

    init(_ messages: RunMessages?) {
        var state = State()
        if let messages {
            messages.asks.visit { key, ask in
                guard ask.outcome != nil else { return }
                state.events.append((ReplayNotes.Use(kind: .receipt, key: key), ask.recordedAt, false))
            }
            messages.messages.visit { key, message in
                guard let reply = message.reply else { return }
                state.events.append((ReplayNotes.Use(kind: .reply, key: key), reply.recordedAt, false))
            }
            state.events.sort { ($0.time, $0.use.key) < ($1.time, $1.use.key) }
            for (place, event) in state.events.enumerated() { state.places[event.use] = place }
        }
        self.state = Lock(state)
    }

    func meet(_ use: ReplayNotes.Use) {
        let waiters = state.withLock { state -> [Promise<Bool>] in
            guard let place = state.places[use], !state.events[place].isMet else { return [] }
            state.events[place].isMet = true
            state.advance()
            return state.takeWaiters()
        }
        for waiter in waiters { waiter.fulfill(true) }
    }

    /// Returns when everything before has been met, or is not going to be.
    /// - Parameter use: nil for what is not recorded yet, which comes behind all that is.
    func turn(of use: ReplayNotes.Use?, _ loop: any Loop) async throws {
        while true {
            let waiter = Promise<Bool>()
            let time = state.withLock { state -> Int64? in
                let place = use.flatMap { state.places[$0] }
                let time = place.map { state.events[$0].time } ?? .max
                guard !state.isClear(before: time) else { return nil }
                state.waiters.add(waiter, of: waiter)
                return time
            }
            guard let time else { return }
            let timer = loop.promise(waiter, fulfilledAt: loop.now.advanced(by: Self.grace), with: false)
            defer {
                timer.cancel()
                state.withLock { $0.waiters.remove(waiter) }
            }
            guard try await !waiter.wait() else { continue }
            let waiters = state.withLock { state -> [Promise<Bool>] in
                for place in state.first..<state.events.count where state.events[place].time < time {
                    state.events[place].isMet = true
                }
                state.advance()
                return state.takeWaiters()
            }
            for waiter in waiters { waiter.fulfill(true) }
        }
    }
}
