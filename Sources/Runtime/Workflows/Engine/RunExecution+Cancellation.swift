import FlotillaIO

// How a body hears that its run is to end: at one place, which is recorded first.

extension RunExecution {
    /// Holds the place at which the body heard first that it is to end: after a takeover it hears of it there again.
    static let cancellationStep = StepKey("$cancelled", 0)
    static let cancelled = WorkflowError(.cancelled, "the run is to end; clean up, and let this error pass")

    var hasNewCancellation: Bool {
        cancel.isMade && progress.withLock { $0.cancellationPlace == nil }
    }

    /// Whether the body is to hear here that it is to end: if it did so before, or if it was asked since and has heard of
    /// it nowhere else.
    func meetsCancellation(at place: @autoclosure () -> String) async throws -> Bool {
        let known = progress.withLock { $0.cancellationPlace }
        guard known != nil || cancel.isMade else { return false }
        let place = place()
        let first: String
        if let known {
            first = known
        } else {
            first = try await record(place, as: Self.cancellationStep)
            progress.withLock { $0.cancellationPlace = first }
        }
        guard first == place else { return false }
        replay?.meet(.step, Self.cancellationStep)
        progress.withLock { $0.isCancelled = true }
        return true
    }

    /// A look at whether the run is to end. The same looks see the same after a takeover: where an earlier owner went on
    /// behind one, it saw nothing there.
    func lookForCancellation(_ name: String) async throws -> Bool {
        if !name.isEmpty { try checkName(name) }
        let look = try count(name, counter: \.looks)
        let mayHear = progress.withLock { progress in
            progress.cancellationPlace != nil || progress.metCount == recordedCount
        }
        if !isCancelled, mayHear { _ = try await meetsCancellation(at: "look \(look)") }
        return isCancelled
    }

    /// The body has come to something that is recorded.
    func meet(_ kind: EventPosition.Kind, _ key: StepKey) {
        progress.withLock { $0.metCount += 1 }
        order.meet(ReplayNotes.Use(kind: kind, key: key))
        replay?.meet(kind, key)
    }

    /// Whether branches of a body that is replayed wait for each other: not where nothing has a clock.
    var keepsOrder: Bool { replay?.parks ?? true }
}
