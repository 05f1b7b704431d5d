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
        var hasContinued = false
    }
    private let state = Lock(State())
    let parks: Bool
    /// Rings when the body may have come further.
    let changes = Signal()

    /// - Parameter parks: the body waits at the end of the record until its task is cancelled; else it gets an error
    ///   there.
    init(parks: Bool = false) { self.parks = parks }

    /// A branch of the body has come to the end of the record.
    var hasParked: Bool { state.withLock { !$0.unrecorded.isEmpty || $0.hasContinued } }

    /// In the order of the asking.
    var used: [Use] { state.withLock { $0.used } }
    /// What the body asked for and the history does not have. The first is certain; what a body does after that one
    /// failed says little.
    var unrecorded: [Use] { state.withLock { $0.unrecorded } }

    /// The body goes on as a new execution.
    var hasContinued: Bool { state.withLock { $0.hasContinued } }

    func continueAsNew() async throws {
        state.withLock { $0.hasContinued = true }
        tell()
        if parks { try await Promise<Void>().wait() }
        throw CancellationError()
    }

    func meet(_ kind: EventPosition.Kind, _ key: StepKey) {
        if !parks { state.withLock { $0.used.append(Use(kind: kind, key: key)) } }
        tell()
    }

    func tell() { changes.ring() }

    /// The history has nothing to hand out: the body goes no further on this branch.
    /// - Parameter isRecorded: it has the beginning of a sleep, but not its end.
    func end(_ kind: EventPosition.Kind, _ key: StepKey, isRecorded: Bool = false) async throws {
        if !isRecorded { state.withLock { $0.unrecorded.append(Use(kind: kind, key: key)) } }
        tell()
        if parks { try await Promise<Void>().wait() }
        throw CancellationError()
    }
}
