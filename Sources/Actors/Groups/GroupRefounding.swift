import FlotillaIO
public import FlotillaRaft

// A group that has lost its majority for good is founded anew, on one survivor and with what that one has: in another
// incarnation, so that nobody of the old one is listened to. This is no consensus. What only the lost members had
// acknowledged is gone, and what was never committed may now be.

extension RaftGroup {
    /// Withdraws, and has everything in its log applied.
    /// - Returns: the last entry; nil where this replica has stopped.
    func giveUp(_ reason: GroupError) -> LogIndex? {
        guard stopReason == nil else { return nil }
        withdraw(reason)
        wake()
        return core.commitOwnLog()
    }

    /// What the group's next incarnation begins with: the state behind the last entry, and this node as the only voter.
    /// - Returns: nil where the log is not applied.
    func foundationOfNext(
        incarnation: UInt64
    ) -> (identity: ReplicaIdentity, metadata: SnapshotMetadata, view: GroupSnapshotView)? {
        guard withdrawal != nil, stopReason == nil, core.appliedIndex == core.lastIndex else { return nil }
        // An id that no session of the old incarnation knows.
        let replica = core.configuration.nextReplica
        let configuration = Configuration(
            members: [.init(replica: replica, node: node)], voters: [replica], outgoingVoters: [], learners: [],
            nextLearners: [], leavesAutomatically: false, nextReplica: ReplicaID(replica.rawValue + 1))
        if !mutated(.incarnationsShareNumbers) { stateMachine.beginIncarnation(incarnation) }
        var view = snapshotView()
        view.sessions.retain(membersOf: configuration)
        let next = ReplicaIdentity(
            group: identity.group, incarnation: incarnation, kind: identity.kind, replica: replica)
        let metadata = SnapshotMetadata(index: core.lastIndex, term: core.lastTerm, configuration: configuration)
        return (next, metadata, view)
    }
}

extension NodeCore {
    /// How long the entries that are in the log and not applied may take.
    private static let applyTimeLimit: Duration = .seconds(10)

    /// Ends this node's part in a group's incarnation that management has given up. What the replica has stays: the next
    /// incarnation may have to begin with it. Does nothing where no replica of an earlier one lives here.
    public func withdraw(_ id: GroupID, before incarnation: UInt64) async {
        await onLoop { [self] in
            guard let group = hosted[id], group.identity.incarnation < incarnation else { return }
            group.assumeOnLoop { $0.withdraw(Self.foundedAnew(id)) }
        }
    }

    private static func foundedAnew(_ id: GroupID) -> GroupError { GroupError(.stopped, "\(id) is founded anew") }

    /// Founds a group anew with what this node's replica has, its uncommitted entries included: they may have been
    /// committed by those that are lost. Returns when the new replica's beginning is durable, in the same write that
    /// ends the old replica. Does nothing where this incarnation lives here.
    /// - Parameter incarnation: of the new group, as management has issued it.
    /// - Throws: `GroupError` with `unknownGroup` where no older replica lives here, `stopped` where it has stopped or
    ///   the node does, `timedOut` where its log is not applied in time: then this can be tried again. `LogError` where
    ///   the state cannot be written, with which it is the same.
    public func refound(_ id: GroupID, incarnation: UInt64) async throws {
        guard let group = hosted[id] else {
            throw GroupError(.unknownGroup, "no replica of \(id) lives here, so it cannot be founded anew from it")
        }
        guard group.identity.incarnation < incarnation else { return }
        let reason = Self.foundedAnew(id)
        let (identity, metadata, view) = try await foundation(from: group, incarnation: incarnation, reason)
        try await snapshotStore.save(view, as: SnapshotID(identity, metadata))
        let bytes = view.serialize()
        let log = RecoveredLog.Group(
            replica: identity, hardState: HardState(term: metadata.term, vote: nil, commit: metadata.index),
            snapshot: metadata,
            outline: LogOutline(base: LogPosition(index: metadata.index, term: metadata.term)))
        let host: @Sendable () -> Void = { [self] in
            do {
                try self.host(identity, recovered: log, snapshot: bytes)
            } catch {
                preconditionFailure("the state that \(id) had just now cannot be restored: \(error)")
            }
        }
        try await written { [self] completion in
            guard hosted[id] === group else { return completion(reason) }
            hosted.remove(id)
            noteRemoved(group.identity)
            scheduler.assumeOnLoop { scheduler in
                scheduler.replace(
                    group, because: reason,
                    with: LogBatch.Write(
                        group: id, incarnation: incarnation, created: identity, hardState: log.hardState,
                        snapshot: metadata),
                    host: host, then: completion)
            }
        }
        try await snapshotStore.removeAll(of: id, before: incarnation)
        logger.warning(
            "\(id) is founded anew with what this node has",
            ["incarnation": "\(incarnation)", "index": metadata.index.description])
    }

    private func foundation(
        from group: RaftGroup, incarnation: UInt64, _ reason: GroupError
    ) async throws -> (ReplicaIdentity, SnapshotMetadata, GroupSnapshotView) {
        let id = group.identity.group
        guard let last = await onLoop({ group.assumeOnLoop { $0.giveUp(reason) } }) else {
            throw GroupError(.stopped, "\(id) has stopped on this node")
        }
        await poll(until: loop.now.advanced(by: Self.applyTimeLimit)) {
            group.assumeOnLoop { $0.stopReason != nil || $0.core.appliedIndex >= last }
        }
        let foundation = await onLoop { group.assumeOnLoop { $0.foundationOfNext(incarnation: incarnation) } }
        guard let foundation else {
            throw GroupError(.timedOut, "the log of \(id) is not applied yet; try again")
        }
        return foundation
    }
}

extension SnapshotStore {
    func save(_ view: GroupSnapshotView, as id: SnapshotID) throws(LogError) {
        try view.state.prepare()
        _ = try save(view.serialize(), as: id)
    }
}
