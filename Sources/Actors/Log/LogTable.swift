import FlotillaRaft

/// What a log holds of each replica, and in which segment: the state that writes change one after the other.
///
/// The memory store is one such table that keeps the entries. That of the disk store knows where they lie.
struct LogTable {
    /// Where a batch stands.
    struct Place: Hashable {
        var segment: UInt64
        /// In bytes.
        var offset: UInt64
    }

    /// Entries of one term that lie in one segment, next to each other.
    struct Run: Hashable {
        var first: LogIndex
        var last: LogIndex
        var term: Term
        /// `nowhere`: their segment was deleted, which is right only if something later makes them obsolete.
        /// `lost`: they are damaged.
        var segment: UInt64
        /// What they take on disk, about.
        var bytes: Int
        /// Where to begin to look for them: at or before the first entry. Means nothing where the segment does not.
        var start: UInt64 = 0
        /// Where to begin to look for later ones, ascending; none in most runs.
        var laterMarks: [LaterMark] = []

        static let nowhere: UInt64 = 0
        static let lost = UInt64.max
        var count: Int { first.distance(to: last) + 1 }
    }

    /// The batch that holds an entry.
    struct Mark: Hashable {
        var first: LogIndex
        var offset: UInt64

        /// Bytes from one mark to the next at least: what is read in vain at most.
        static let spacing: UInt64 = 256 << 10
    }

    /// A mark behind the start of its run, so that an entry costs no more than 8 bytes in a log that many groups share, and
    /// next to nothing in one's own.
    struct LaterMark: Hashable {
        var entries: UInt32
        var bytes: UInt32
    }

    struct Replica {
        var identity: ReplicaIdentity
        var hardState = HardState()
        var snapshot: SnapshotMetadata?
        var recoveringUntil: LogIndex?
        /// What stands right before the first entry: the snapshot's end, or before it.
        var base = LogPosition.zero
        /// Contiguous from just behind the base on.
        var runs: [Run] = []
        /// The membership changes among them, ascending.
        var configurations: [LogIndex] = []
        /// The same entries, if the table keeps them.
        var entries: [Entry] = []
        /// Where the payloads are that the entries lack, ascending.
        var payloads: [FiledPayload] = []

        var snapshotIndex: LogIndex { snapshot?.index ?? .zero }
        var last: LogIndex { runs.last?.last ?? base.index }

        func term(at index: LogIndex) -> Term? {
            if index == base.index { return base.term }
            if let snapshot, snapshot.index == index { return snapshot.term }
            return run(of: index)?.term
        }

        /// Which run holds an entry.
        func run(of index: LogIndex) -> Run? {
            var (low, high) = (0, runs.count)
            while low < high {
                let middle = (low + high) / 2
                if runs[middle].last < index { low = middle + 1 } else { high = middle }
            }
            return low < runs.count && runs[low].first <= index ? runs[low] : nil
        }

        var outline: LogOutline {
            var outline = LogOutline(base: base)
            for run in runs { outline.extend(through: run.last, term: run.term) }
            for change in configurations { outline.noteConfiguration(at: change) }
            return outline
        }
    }

    var replicas = LogReplicas()
    var removed: [ReplicaIdentity] = []
    /// Apart from the replicas, so that one of those is changed in its place while this is.
    var space: LogSpace

    /// What an entry takes on disk besides its payload, about.
    static let entryOverheadBytes = 16

    init(keeping kept: LogSpace.Kept = .places) { space = LogSpace(kept) }

    /// What is live in each segment.
    var usage: [UInt64: LogSpace.Usage] { space.usage }
    var liveBytes: Int { usage.values.reduce(0) { $0 + $1.bytes } }
}

// MARK: Writes

extension LogTable {
    /// What the log says of `write` besides its entries.
    func head(of write: LogBatch.Write) -> LogHeads.Write {
        var head = LogHeads.Write(write: write)
        head.write.entries = []
        if let first = write.entries.first {
            head.claim = LogHeads.Claim(first: first.index, count: write.entries.count)
        }
        if let snapshot = write.snapshot, let known = replicas[head.key],
            known.term(at: snapshot.index) == snapshot.term
        {
            head.keepsTail = true
            let kept = LogIndex(max(write.keptFrom?.rawValue ?? .max, 1) - 1)
            let base = min(max(kept, known.base.index), snapshot.index)
            if base < snapshot.index, let term = known.term(at: base) {
                head.base = LogPosition(index: base, term: term)
            }
        }
        return head
    }

    /// Why a write must not be applied: nil if it may. For a caller it is a broken precondition, for a reader damage.
    func problem(with head: LogHeads.Write) -> String? { problem(with: head, to: replicas[head.key]) }

    /// - Parameter known: the write's replica, where there is one.
    private func problem(with head: LogHeads.Write, to known: Replica?) -> String? {
        let write = head.write
        let key = head.key
        if let created = write.created {
            if created.key != key { return "a write of \(key) creates a replica of \(created.key)" }
            if let known, known.identity != created {
                return
                    "\(key) is \(known.identity.replica) here, so \(created.replica) cannot be created"
            }
            if known == nil, removed.contains(created), !mutated(.revivesRemovedReplica) {
                return
                    "\(created.replica) of \(key) was removed from this node and must not come back"
            }
        } else if known == nil {
            return "\(key) has no replica here, and the write creates none"
        }
        let base = known?.snapshotIndex ?? .zero
        var last = known?.last ?? .zero
        if let kept = head.base {
            guard let snapshot = write.snapshot, kept.index < snapshot.index, head.keepsTail,
                kept.index >= known?.base.index ?? .zero
            else { return "\(key) is to begin at \(kept.index), where its log cannot" }
        }
        if let snapshot = write.snapshot {
            guard snapshot.index >= base, snapshot.index > .zero else {
                return "\(key) has a snapshot at \(base), newer than the one at \(snapshot.index)"
            }
            if !head.keepsTail {
                last = snapshot.index
            } else if last < snapshot.index {
                return
                    "\(key) ends at \(last), before the snapshot at \(snapshot.index) that its tail is to outlive"
            }
        }
        if let claim = head.claim {
            guard claim.first <= last.next else {
                return "\(key) ends at \(last), so entries from \(claim.first) on leave a gap"
            }
            guard claim.first > base || write.snapshot != nil else {
                return
                    "entries from \(claim.first) on would replace part of the snapshot of \(key) at \(base)"
            }
        }
        return nil
    }

    /// Why these entries cannot stand in a log in this order: nil if they can.
    static func problem(with entries: [Entry]) -> String? {
        guard var previous = entries.first else { return nil }
        for entry in entries.dropFirst() {
            guard entry.index == previous.index.next, entry.term >= previous.term else {
                return "entry \(entry.index) of term \(entry.term) follows entry \(previous.index) "
                    + "of term \(previous.term)"
            }
            previous = entry
        }
        return previous.index > .zero ? nil : "entry 0 cannot be written"
    }

    /// Applies a write that has no problem: first the snapshot, then the hard state, then the entries.
    /// - Parameter place: of the batch that holds the entries.
    mutating func apply(_ head: LogHeads.Write, _ logged: LoggedEntries, place: Place) {
        change(head) { replica, space in
            replica.append(logged, place: place, &space)
            // Whatever comes behind the damage comes from a leader, for a recovering replica never leads.
            let passed = max(replica.snapshotIndex, logged.entries.last?.index ?? .zero)
            if let until = replica.recoveringUntil, passed >= until { replica.recoveringUntil = nil }
        }
    }

    /// The same for a write whose entries are lost.
    mutating func apply(_ head: LogHeads.Write, losing claim: LogHeads.Claim) {
        change(head) { replica, space in replica.lose(claim, &space) }
    }

    /// Changes the write's replica in its place: its snapshot and hard state, and what `body` does.
    private mutating func change(_ head: LogHeads.Write, _ body: (inout Replica, inout LogSpace) -> Void) {
        if head.write.created != nil { create(head) }
        let isHere = replicas.change(head.key, &space) { replica, space in
            replica.begin(head, &space)
            body(&replica, &space)
        }
        precondition(isHere, "\(head.key) has no replica here")
        guard head.write.isRemoved, let replica = replicas.remove(head.key) else { return }
        space.drop(replica)
        removed.append(replica.identity)
    }

    private mutating func create(_ head: LogHeads.Write) {
        guard let created = head.write.created, !replicas.contains(head.key) else { return }
        replicas[head.key] = Replica(identity: created)
    }

    /// Marks every replica: an unknown write was lost, of which no more is known than `claims`.
    mutating func markAllRecovering(claims: [LogKey: LogIndex]) {
        for key in replicas.sortedKeys {
            guard var replica = replicas[key] else { continue }
            let until = max(replica.last.next, claims[key] ?? .zero)
            replica.recoveringUntil = max(until, replica.recoveringUntil ?? .zero)
            replicas[key] = replica
        }
    }
}
