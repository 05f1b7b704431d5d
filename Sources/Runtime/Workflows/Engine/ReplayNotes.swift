import FlotillaIO

/// What a body asks for while a recorded history is replayed against it.
final class ReplayNotes: Sendable {
    struct Use: Hashable, Sendable {
        var kind: EventPosition.Kind
        var key: StepKey
    }

    private struct State {
        var used: [Use] = []
        var unrecorded: [Use] = []
    }
    private let state = Lock(State())

    /// In the order of the asking.
    var used: [Use] { state.withLock { $0.used } }
    /// What the body asked for and the history does not have. The first is certain; what a body does after that one
    /// failed says little.
    var unrecorded: [Use] { state.withLock { $0.unrecorded } }

    func meet(_ kind: EventPosition.Kind, _ key: StepKey) {
        state.withLock { $0.used.append(Use(kind: kind, key: key)) }
    }

    /// The history has nothing to hand out: the body goes no further on this branch.
    /// - Parameter isRecorded: it has the beginning of a sleep, but not its end.
    func end(_ kind: EventPosition.Kind, _ key: StepKey, isRecorded: Bool = false) throws {
        if !isRecorded { state.withLock { $0.unrecorded.append(Use(kind: kind, key: key)) } }
        throw CancellationError()
    }
}
