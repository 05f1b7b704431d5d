import FlotillaIO
public import FlotillaRaft

/// The groups that this node hosts, as tasks see them. A node that joins gets its replicas only when a leader has
/// added them, so whoever needs one waits for it.
public final class HostedGroups: Sendable {
    private struct State {
        var groups: [GroupID: RaftGroup] = [:]
        var waiters: [GroupID: [Completion<RaftGroup>]] = [:]
        /// Groups that came or went since the reader of `changes` looked.
        var changed: Set<GroupID> = []
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

    /// The groups that came or went since the last call, ascending: for the reader of `changes`, who pays for those and
    /// no others.
    public func takeChanged() -> [GroupID] {
        state.withLock { state in
            defer { state.changed = [] }
            return state.changed.sorted()
        }
    }

    /// In ascending order. Takes time in proportion to the groups: not for what happens often.
    public var all: [RaftGroup] { state.withLock { $0.groups.sorted { $0.key < $1.key }.map(\.value) } }

    public subscript(id: GroupID) -> RaftGroup? { state.withLock { $0.groups[id] } }

    /// Waits until the group is hosted here.
    public func group(_ id: GroupID) async throws -> RaftGroup {
        let completion = Completion<RaftGroup>()
        let known: Result<RaftGroup, any Error>? = state.withLock { state in
            if let group = state.groups[id] { return .success(group) }
            if let failure = state.failure { return .failure(failure) }
            var waiting = state.waiters[id] ?? []
            waiting.removeAll { $0.isFinished }
            state.waiters[id] = waiting + [completion]
            return nil
        }
        if let known { return try known.get() }
        return try await completion.wait()
    }

    func add(_ group: RaftGroup) {
        let ready = state.withLock { state in
            state.groups[group.identity.group] = group
            state.changed.insert(group.identity.group)
            return state.waiters.removeValue(forKey: group.identity.group) ?? []
        }
        for completion in ready { completion.finish(.success(group)) }
        changed.yield()
    }

    func remove(_ id: GroupID) {
        state.withLock { state in
            state.groups[id] = nil
            state.changed.insert(id)
        }
        changed.yield()
    }

    /// Nobody waits any longer.
    public func close(_ failure: GroupError) {
        let waiters = state.withLock { state in
            state.failure = failure
            defer { state.waiters = [:] }
            return state.waiters
        }
        for completion in waiters.sorted(by: { $0.key < $1.key }).flatMap(\.value) {
            completion.finish(.failure(failure))
        }
        changed.finish()
    }
}
