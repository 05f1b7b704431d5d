import FlotillaIO
public import FlotillaRaft

// Groups come to a node in three ways: from its log at start, founded by management's word, or by a leader that has
// added a replica here. They leave it in one, and never come back as the same replica.

extension GroupScheduler {
    /// The replica that a message is for. A leader's message for a replica that is to live here brings it to life.
    func host(_ routed: RoutedMessage, from node: NodeID) -> RaftGroup? {
        if let group = groups[routed.group],
            group.identity.incarnation == routed.incarnation || mutated(.ignoresIncarnationOfMessages),
            group.identity.replica == routed.message.to
        {
            return group
        }
        if groups[routed.group] == nil, founding[routed.group] == nil, !isFenced,
            let group = makeReplica?(routed)
        {
            add(group)
            return group
        }
        metrics.unknownGroups += 1
        post(
            .unknownGroup(
                UnknownGroup(
                    group: routed.group, incarnation: routed.incarnation, replica: routed.message.to)), to: node)
        loop.execute { [weak self] in self?.assumeOnLoop { $0.flushOutbox() } }
        return nil
    }

    /// Writes what a new group's log begins with.
    /// - Parameters:
    ///   - write: the first one of the replica.
    ///   - host: called on the loop when it is durable, before `completion`; hosts the group.
    func found(
        _ write: LogBatch.Write, host: @escaping @Sendable () -> Void, then completion: @escaping WriteCompletion
    ) {
        let id = write.group
        if founding[id] != nil {
            founding[id]!.append(completion)
            return
        }
        founding[id] = [completion]
        record([write]) { [weak self] failure in
            self?.assumeOnLoop { $0.finishFounding(of: id, host: host, failure) }
        }
    }

    /// Ends a group here at once, and puts a new incarnation of it in its place, in one write.
    func replace(
        _ group: RaftGroup, because reason: GroupError, with write: LogBatch.Write,
        host: @escaping @Sendable () -> Void, then completion: @escaping WriteCompletion
    ) {
        let id = group.identity.group
        guard founding[id] == nil else { return completion(reason) }
        founding[id] = [completion]
        record([end(group, because: reason), write]) { [weak self] failure in
            self?.assumeOnLoop { $0.finishFounding(of: id, host: host, failure) }
        }
    }

    private func finishFounding(of id: GroupID, host: @Sendable () -> Void, _ failure: GroupError?) {
        let waiting = founding.removeValue(forKey: id) ?? []
        if failure == nil { host() }
        for completion in waiting { completion(failure) }
    }

    /// Ends a group here at once, and records that its replica is gone for good.
    func remove(_ group: RaftGroup, because reason: GroupError, then completion: @escaping WriteCompletion) {
        record([end(group, because: reason)], then: completion)
    }

    /// - Returns: what has to be written of its end.
    private func end(_ group: RaftGroup, because reason: GroupError) -> LogBatch.Write {
        let identity = group.identity
        groups[identity.group] = nil
        groupsByNode.remove(identity.group)
        active[identity.group] = nil
        dirty.removeAll { $0 === group }
        backoffs = backoffs.filter { $0.key.group != identity.group }
        let isRecorded = group.assumeOnLoop { group in
            group.end(reason)
            return group.isRecorded
        }
        return LogBatch.Write(
            group: identity.group, incarnation: identity.incarnation, created: isRecorded ? nil : identity,
            isRemoved: true)
    }

    /// Writes what belongs to no group that steps.
    private func record(_ writes: [LogBatch.Write], then completion: @escaping WriteCompletion) {
        if let stopReason { return completion(stopReason) }
        guard !isFenced else {
            return completion(GroupError(.stopped, "the log could not be written; restart the node to verify it"))
        }
        let number = records.add(completion)
        logWriter.add(
            writes.enumerated().map { position, write in
                GroupOutput.Write(record: write, recordNumber: position == writes.count - 1 ? number : nil)
            })
        startWriting()
    }

    func finishRecord(_ number: UInt64) { records.remove(number)?(nil) }

    /// Whether they become durable nobody will know before a restart.
    func failRecords(_ reason: GroupError) {
        for completion in records.removeAll() { completion(reason) }
    }
}

/// Told on the loop when a write is durable, or why nobody knows.
typealias WriteCompletion = @Sendable (GroupError?) -> Void

/// Who waits for records that belong to no group.
struct PendingRecords {
    private var waiting: [UInt64: WriteCompletion] = [:]
    private var last: UInt64 = 0

    mutating func add(_ completion: @escaping WriteCompletion) -> UInt64 {
        last += 1
        waiting[last] = completion
        return last
    }

    mutating func remove(_ number: UInt64) -> WriteCompletion? { waiting.removeValue(forKey: number) }

    /// In the order in which they came.
    mutating func removeAll() -> [WriteCompletion] {
        defer { waiting = [:] }
        return waiting.sorted { $0.key < $1.key }.map(\.value)
    }
}

extension NodeCore {
    /// Brings this node's replica of a new group to life. Returns when the beginning of its log is on this disk. Does
    /// nothing where that replica lives here, or has lived here and was removed.
    /// - Throws: `GroupError` with `stopped` where the node has stopped or stops first, `unknownGroup` where this binary
    ///   does not know the group's kind.
    public func found(_ foundation: GroupFoundation) async throws {
        guard let identity = foundation.replica(on: node) else {
            preconditionFailure("\(node) is no founder of \(foundation.group)")
        }
        guard registry.knows(identity.kind) else {
            throw GroupError(
                .unknownGroup, "\(identity.group) of \(identity.kind) is unknown to this binary: upgrade it")
        }
        try await written { [self] completion in
            guard hosted[identity.group] == nil, !hasRemoved(identity) else { return completion(nil) }
            let log = foundation.log(of: identity)
            let write = LogBatch.Write(founding: foundation, replica: identity)
            let host: @Sendable () -> Void = { [self] in
                do {
                    try self.host(identity, recovered: log, snapshot: nil)
                } catch {
                    preconditionFailure("\(identity.group) has no snapshot that could not be restored: \(error)")
                }
            }
            scheduler.assumeOnLoop { $0.found(write, host: host, then: completion) }
        }
        logger.info(
            "\(identity.group) is founded", ["kind": identity.kind.description, "replica": "\(identity.replica)"])
    }

    /// Ends this node's replica of a group for good, and removes what it kept. Returns when that is durable. Whoever
    /// waits for the group gets `reason`. Does nothing where no replica of it lives here.
    /// - Throws: `GroupError` with `stopped` where the node has stopped or stops first.
    public func remove(_ id: GroupID, because reason: GroupError) async throws {
        guard let group = hosted[id] else { return }
        let identity = group.identity
        try await written { [self] completion in
            guard hosted[id] === group else { return completion(nil) }
            hosted.remove(id)
            noteRemoved(identity)
            scheduler.assumeOnLoop { $0.remove(group, because: reason, then: completion) }
        }
        try await snapshotStore.removeAll(of: id)
        logger.info("\(id) has no replica here any more", ["reason": reason.message])
    }

    /// Runs `body` on the loop and waits until what it writes is durable, or the node stops. Not cancelled with the
    /// task: what was begun is finished.
    func written(_ body: @escaping @Sendable (_ completion: @escaping WriteCompletion) -> Void) async throws {
        try await changes.wait { number in
            loop.execute { [self] in
                let completion: WriteCompletion = { [self] in changes.finish(number, $0) }
                if let reason = scheduler.assumeOnLoop({ $0.stopReason }) { return completion(reason) }
                body(completion)
            }
        }
    }

    /// A leader speaks to a replica that is to live here.
    func makeReplica(for routed: RoutedMessage) -> RaftGroup? {
        switch routed.message.body {
        case .append, .heartbeat, .snapshot: break
        case .preVote, .preVoteResponse, .vote, .voteResponse, .appendResponse, .heartbeatResponse,
            .forwardedProposal, .readIndex, .readIndexResponse, .timeoutNow, .forwardedTransfer, .quiesce:
            return nil
        }
        let identity = ReplicaIdentity(
            group: routed.group, incarnation: routed.incarnation, kind: routed.kind, replica: routed.message.to)
        guard !hasRemoved(identity), let machine = registry.make(routed.kind, for: routed.group) else { return nil }
        logger.info("\(routed.group) has a replica here", ["kind": routed.kind.description])
        let group = RaftGroup(identity, in: context, recovered: nil, machine)
        hosted.add(group)
        return group
    }

    /// A replica that once lived here and was removed is never taken up again, nor an older one.
    private func hasRemoved(_ identity: ReplicaIdentity) -> Bool {
        removed.withLock { removed in
            removed.contains {
                $0.group == identity.group && $0.incarnation == identity.incarnation && $0.replica >= identity.replica
            }
        }
    }

    func noteRemoved(_ identity: ReplicaIdentity) { removed.withLock { $0.append(identity) } }
}
