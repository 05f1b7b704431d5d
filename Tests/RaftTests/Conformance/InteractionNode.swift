@testable import FlotillaRaft

/// A replica with what surrounds it in a scenario: a disk, the work of its two storage threads, and what it told last.
final class InteractionNode {
    var raft: Raft
    let isAsync: Bool
    /// What is on disk, as the directive `raft-log` shows it.
    private(set) var disk: [Entry] = []
    private(set) var diskOffset = LogIndex.zero
    /// The newest snapshot of the state machine, which has one at every entry.
    private(set) var snapshot: SnapshotMetadata?
    /// All data that the state machine was given, one after the other.
    private(set) var content: [UInt8] = []
    var appendWork: [AppendWork] = []
    var applyWork: [[Entry]] = []

    private var toldState: SoftState
    private var toldHardState: HardState

    struct SoftState: Equatable {
        var leader: ReplicaID?
        var role: Raft.Role
    }

    /// A write for the append thread.
    struct AppendWork {
        var hardState: HardState?
        var entries: [Entry]
        var snapshot: SnapshotMetadata?
        var responses: [InteractionMessage]
        /// A write whose end needs no response: the log has no part in it.
        var silentReceipt: Persist.Receipt?
    }

    init(_ id: ReplicaID, _ options: RaftOptions, isAsync: Bool, snapshot: SnapshotMetadata?, content: [UInt8]) {
        let hardState = HardState(commit: snapshot?.index ?? .zero)
        raft = Raft(
            id, randomSeed: id.rawValue, RaftOptions.Shared(options),
            restored: RestoredReplica(hardState: hardState, snapshot: snapshot))
        self.isAsync = isAsync
        self.snapshot = snapshot
        self.content = content
        diskOffset = snapshot?.index ?? .zero
        toldState = SoftState(leader: nil, role: .follower)
        toldHardState = hardState
    }

    var id: ReplicaID { raft.id }
    private var state: SoftState { SoftState(leader: raft.leader, role: raft.role) }

    /// Entries that the disk was not known to hold.
    private var hasUnstableEntries: Bool { max(raft.log.durable, raft.log.offset) < raft.log.lastIndex }

    var hasReady: Bool {
        state != toldState || raft.hardState != toldHardState || !raft.outbox.messages.isEmpty
            || !raft.outbox.messagesWhenDurable.isEmpty || raft.outbox.hasWaitingAnswers
            || raft.outbox.restore != nil || !raft.outbox.readStates.isEmpty || raft.log.hasUnwritten
            || raft.log.hasCommitted(onlyDurable: raft.options.appliesOnlyDurable)
    }

    // MARK: Ready

    /// Everything that the core wants done now.
    struct Ready {
        var softState: SoftState?
        var hardState: HardState?
        var entries: [Entry]
        var snapshot: SnapshotMetadata?
        var committed: [Entry]
        var readStates: [ReadState]
        /// To others, and to the storage threads.
        var messages: [InteractionMessage]
        /// To itself, and to others, once the write is durable.
        var promises: [InteractionMessage]
        var receipt: Persist.Receipt?
        var mustSync: Bool
    }

    func takeReady() -> Ready {
        let unstable = hasUnstableEntries
        let answers = raft.outbox.waitingAnswers
        let effects = raft.takeEffects()
        let hardState = raft.hardState
        let entries = effects.persist?.entries ?? []
        var ready = Ready(
            softState: state == toldState ? nil : state, hardState: hardState == toldHardState ? nil : hardState,
            entries: entries, snapshot: effects.restore, committed: effects.committed,
            readStates: effects.readStates, messages: [], promises: [], receipt: effects.persist?.receipt,
            mustSync: !entries.isEmpty || hardState.vote != toldHardState.vote
                || hardState.term != toldHardState.term)
        for message in effects.messages { ready.sort(message) }
        for (position, message) in (effects.persist?.messagesWhenDurable ?? []).enumerated() {
            for answer in answers where answer.precedingMessages == position { ready.promises.append(.own(answer, id)) }
            ready.sort(message)
        }
        let count = effects.persist?.messagesWhenDurable.count ?? 0
        for answer in answers where answer.precedingMessages >= count { ready.promises.append(.own(answer, id)) }
        toldState = state
        toldHardState = hardState
        if isAsync {
            addStorageMessages(to: &ready, hasUnstableEntries: unstable)
        } else {
            // Whoever takes them writes first.
            ready.messages += ready.promises.filter { !$0.isLocal }
        }
        return ready
    }

    private func addStorageMessages(to ready: inout Ready, hasUnstableEntries: Bool) {
        let receipt =
            ready.receipt
            ?? Persist.Receipt(
                term: raft.term, lastIndex: raft.log.lastIndex, lastTerm: raft.log.lastTerm, snapshotIndex: .zero)
        if !ready.entries.isEmpty || ready.hardState != nil || ready.snapshot != nil || !ready.promises.isEmpty {
            var work = AppendWork(
                hardState: ready.hardState, entries: ready.entries, snapshot: ready.snapshot,
                responses: ready.promises, silentReceipt: nil)
            if hasUnstableEntries || ready.snapshot != nil {
                let stored = InteractionMessage.Stored(
                    receipt: receipt, hasEntries: hasUnstableEntries, snapshot: ready.snapshot)
                work.responses.append(.stored(stored, id))
            } else {
                work.silentReceipt = ready.receipt
            }
            ready.messages.append(.append(work, id))
        }
        if !ready.committed.isEmpty { ready.messages.append(.apply(ready.committed, id)) }
    }

    // MARK: Storage

    func write(_ hardState: HardState?, _ entries: [Entry], _ received: SnapshotMetadata?) {
        if let received {
            disk = []
            diskOffset = received.index
            snapshot = received
        }
        if let first = entries.first {
            disk.removeAll { $0.index >= first.index }
            disk += entries
        }
    }

    func apply(_ entries: [Entry]) {
        for entry in entries {
            var configuration = snapshot?.configuration ?? Configuration()
            switch entry.kind {
            case .empty: break
            case .command: content += entry.payload
            case .configuration:
                let change = ProposedChange(entry.payload)
                configuration = raft.applyConfiguration {
                    (changer: inout ConfigurationChanger) throws(ConfigurationChanger.Problem) in
                    try change.apply(to: &changer)
                }
            }
            snapshot = SnapshotMetadata(index: entry.index, term: entry.term, configuration: configuration)
        }
        // Known to the core, so that it can be sent; nothing is dropped from the log for it.
        if let snapshot, !entries.isEmpty { raft.snapshotTaken(snapshot, keepingEntriesBehind: .max) }
    }

    /// Both threads at once: the write is durable, then everything that was committed is applied.
    func finish(_ ready: Ready) {
        if let receipt = ready.receipt { raft.persisted(receipt) }
        if let snapshot = ready.snapshot { raft.applied(through: snapshot.index) }
        if let last = ready.committed.last { raft.applied(through: last.index) }
    }

    /// The append thread's answer to the core. What the replica promised itself comes on its own.
    /// - Returns: what is said of an answer that is out of date.
    func finish(_ stored: InteractionMessage.Stored) -> LogLine? {
        let receipt = stored.receipt
        finishWrite(receipt)
        var line: LogLine?
        if !stored.hasEntries {
            raft.log.snapshotBecameDurable(receipt.snapshotIndex)
        } else if !raft.becameDurable(receipt), receipt.term == raft.term {
            line = explain(receipt)
        }
        if let snapshot = stored.snapshot { finishApplying(through: snapshot.index) }
        return line
    }

    private func explain(_ receipt: Persist.Receipt) -> LogLine {
        let index = receipt.lastIndex
        guard index > raft.log.durable, let term = raft.log.term(at: index), term != receipt.lastTerm else {
            return .init(.info, "entry at index \(index) missing from unstable log; ignoring")
        }
        let what = "entry at (index,term)=(\(index),\(receipt.lastTerm)) mismatched with entry at (\(index),\(term))"
        return .init(.info, "\(what) in unstable log; ignoring")
    }

    func finishWrite(_ receipt: Persist.Receipt) {
        if let count = raft.outbox.completed(receipt) { raft.outbox.dropOwnAnswers(count) }
    }

    func finishApplying(through index: LogIndex) {
        if index > raft.appliedIndex { raft.applied(through: index) }
    }

    /// Drops the entries up to `index`. There is a snapshot at the last entry that was applied.
    /// - Returns: false if they are gone already.
    func compact(through index: LogIndex) -> Bool {
        if index <= diskOffset { return false }
        raft.log.drop(through: index)
        disk.removeAll { $0.index <= index }
        diskOffset = index
        return true
    }

    var diskText: String {
        if disk.isEmpty {
            return "log is empty: first index=\(diskOffset.next), last index=\(diskOffset)\n"
        }
        return disk.scenarioLines
    }
}

extension InteractionNode.Ready {
    fileprivate mutating func sort(_ message: Message) {
        if message.isPromise { promises.append(.network(message)) } else { messages.append(.network(message)) }
    }

    var text: String {
        var text = ""
        if let softState {
            let leader = softState.leader?.rawValue ?? 0
            text += "Lead:\(leader) State:\(softState.role.scenarioText)\n"
        }
        if let hardState { text += "HardState \(hardState.scenarioText)\n" }
        if !readStates.isEmpty {
            text += "ReadStates [" + readStates.map { "{\($0.index) \($0.context)}" }.joined(separator: " ") + "]\n"
        }
        if !entries.isEmpty { text += "Entries:\n" + entries.scenarioLines }
        if let snapshot { text += "Snapshot \(snapshot.scenarioText)\n" }
        if !committed.isEmpty { text += "CommittedEntries:\n" + committed.scenarioLines }
        if !messages.isEmpty { text += "Messages:\n" + messages.map { $0.text() + "\n" }.joined() }
        return text.isEmpty ? "<empty Ready>\n" : "Ready MustSync=\(mustSync):\n" + text
    }
}

extension Raft.Role {
    var scenarioText: String {
        switch self {
        case .follower: "StateFollower"
        case .preCandidate: "StatePreCandidate"
        case .candidate: "StateCandidate"
        case .leader: "StateLeader"
        }
    }
}

extension Outbox {
    /// What belongs to the next write.
    fileprivate var waitingAnswers: ArraySlice<OwnAnswer> {
        ownAnswers[outstanding.reduce(0) { $0 + $1.answerCount }...]
    }
}
