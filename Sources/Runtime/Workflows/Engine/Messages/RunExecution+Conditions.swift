import FlotillaActors
import FlotillaIO

extension RunExecution {
    /// Waits until `predicate` returns a value, and records it like a step's: as a list, empty where the time was over.
    func condition<Value: Codable & Sendable>(
        _ name: String, within limit: Duration?, _ predicate: @escaping @Sendable () -> Value?
    ) async throws -> Value? {
        try checkName(name)
        let condition = try begin("condition", name, counter: \.conditions)
        defer { finish("condition", name) }
        let key = ConditionKey(name, condition.occurrence)
        let step = key.step
        if let known = recorded.steps[step] {
            meet(.step, step)
            let values: [Value] = try recordedValue(
                known.value, of: .init(kind: .step, key: step), "condition \(condition)")
            if values.first != nil, keepsOrder { try await waitBriefly(until: { predicate() != nil }) }
            return values.first
        }
        let place = "condition \(condition)"
        if try await meetsCancellation(at: place) { throw Self.cancelled }
        try await replay?.end(.step, step)
        let deadline = try await deadline(of: key.ask, limit)
        var notice = WaitNotice(key.ask, deadline, self)
        let found = Lock<Value?>(nil)
        while true {
            let bell = Promise<Void>()
            // A value that is there for a moment counts.
            let look: @Sendable () -> Void = {
                guard let value = predicate() else { return }
                found.withLock { $0 = $0 ?? value }
                bell.fulfill(())
            }
            watchers.add(bell, look)
            defer { watchers.remove(bell) }
            look()
            if let value = found.withLock({ $0 }) { return try await record([value], as: step).first }
            if let deadline, environment.loop.wallNow.nanoseconds >= deadline {
                return try await record([Value](), as: step).first
            }
            try await announce(&notice)
            try await wait(for: bell, until: deadline, notice)
            if try await meetsCancellation(at: place) { throw Self.cancelled }
        }
    }

    /// Where a condition held before, the branches that made it hold are on their way in this life of the body. It may
    /// have held for a moment only, so this does not insist.
    private func waitBriefly(until predicate: @escaping @Sendable () -> Bool) async throws {
        let bell = Promise<Void>()
        let look: @Sendable () -> Void = { if predicate() { bell.fulfill(()) } }
        watchers.add(bell, look)
        defer { watchers.remove(bell) }
        look()
        let loop = environment.loop
        let timer = loop.promise(bell, fulfilledAt: loop.now.advanced(by: MessageOrder.grace), with: ())
        defer { timer.cancel() }
        try await bell.wait()
    }
}
