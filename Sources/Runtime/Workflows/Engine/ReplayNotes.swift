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

    /// - Parameter isOver: false for a sleep that had not ended when the history was taken.
    /// - Throws: `CancellationError` where the history has nothing to hand out: the body goes no further on this branch.
    func note(_ kind: EventPosition.Kind, _ key: StepKey, isRecorded: Bool, isOver: Bool = true) throws {
        state.withLock { state in
            if isRecorded {
                state.used.append(Use(kind: kind, key: key))
            } else {
                state.unrecorded.append(Use(kind: kind, key: key))
            }
        }
        guard isRecorded, isOver else { throw CancellationError() }
    }
}
