import FlotillaIO
public import FlotillaRaft

/// The groups that this node hosts, as tasks see them. A node that joins gets its replicas only when a leader has
/// added them, so whoever needs one waits for it.
public final class HostedGroups: Sendable {
    private struct State {
        var groups: [GroupID: RaftGroup] = [:]
        var waiters: [(GroupID, Completion<RaftGroup>)] = []
        var failure: GroupError?
    }

    private let state = Lock(State())

    /// Tells one reader that groups have come or gone, and at first; several changes may be one. Ends with the node.
    public let changes: AsyncStream<Void>
    private let changed: AsyncStream<Void>.Continuation

    public init() {
        (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        changed.yield()
    }

    public var all: [RaftGroup] { state.withLock { $0.groups.sorted { $0.key < $1.key }.map(\.value) } }

    public subscript(id: GroupID) -> RaftGroup? { state.withLock { $0.groups[id] } }

    /// Waits until the group is hosted here.
    public func group(_ id: GroupID) async throws -> RaftGroup {
        let completion = Completion<RaftGroup>()
        let known: Result<RaftGroup, any Error>? = state.withLock { state in
            if let group = state.groups[id] { return .success(group) }
            if let failure = state.failure { return .failure(failure) }
            state.waiters.removeAll { $0.1.isFinished }
            state.waiters.append((id, completion))
            return nil
        }
        if let known { return try known.get() }
        return try await completion.wait()
    }

    func add(_ group: RaftGroup) {
        let ready = state.withLock { state in
            state.groups[group.identity.group] = group
            let ready = state.waiters.filter { $0.0 == group.identity.group }
            state.waiters.removeAll { $0.0 == group.identity.group }
            return ready
        }
        for (_, completion) in ready { completion.finish(.success(group)) }
        changed.yield()
    }

    func remove(_ id: GroupID) {
        state.withLock { $0.groups[id] = nil }
        changed.yield()
    }

    /// Nobody waits any longer.
    public func close(_ failure: GroupError) {
        let waiters = state.withLock { state in
            state.failure = failure
            defer { state.waiters = [] }
            return state.waiters
        }
        for (_, completion) in waiters { completion.finish(.failure(failure)) }
        changed.finish()
    }
}
