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
        /// Where to begin to look for them, ascending; the first one is at or before the first entry.
        var marks: [Mark] = []

        static let nowhere: UInt64 = 0
        static let lost = UInt64.max
        var count: Int { first.distance(to: last) + 1 }
    }

    /// The batch that holds an entry.
    struct Mark: Hashable {
        var first: LogIndex
        var offset: UInt64

        /// Bytes from one mark to the next at least: what is read in vain at most. A mark takes 16 bytes, so that an
        /// entry costs no more than that in a log that many groups share, and next to nothing in one's own.
        static let spacing: UInt64 = 256 << 10
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
        var configurations: [Entry] = []
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
            for change in configurations { outline.noteConfiguration(at: change.index) }
            return outline
        }
    }

    /// What is live in one segment.
    struct Usage: Hashable {
        var entries = 0
        var bytes = 0
    }

    var replicas: [LogKey: Replica] = [:]
    var removed: [ReplicaIdentity] = []
    private(set) var usage: [UInt64: Usage] = [:]
    var payloadUses = PayloadUses()
    private let keepsEntries: Bool

    /// What an entry takes on disk besides its payload, about.
    static let entryOverheadBytes = 16

    init(keepingEntries: Bool) { keepsEntries = keepingEntries }

    var liveBytes: Int { usage.values.reduce(0) { $0 + $1.bytes } }
    /// In ascending order, so that the same history gives the same bytes.
    var sortedReplicas: [Replica] { replicas.sorted { $0.key < $1.key }.map(\.value) }
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
    func problem(with head: LogHeads.Write) -> String? {
        let write = head.write
        let key = head.key
        let known = replicas[key]
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
        let write = head.write
        var replica = take(head)
        if let hardState = write.hardState { replica.hardState = hardState }
        append(logged, to: &replica, place: place)
        // Whatever comes behind the damage comes from a leader, for a recovering replica never leads.
        let passed = max(replica.snapshotIndex, logged.entries.last?.index ?? .zero)
        if let until = replica.recoveringUntil, passed >= until { replica.recoveringUntil = nil }
        putBack(replica, isRemoved: write.isRemoved)
    }

    /// The same for a write whose entries are lost.
    mutating func apply(_ head: LogHeads.Write, losing claim: LogHeads.Claim) {
        var replica = take(head)
        if let hardState = head.write.hardState { replica.hardState = hardState }
        lose(claim, from: &replica)
        putBack(replica, isRemoved: head.write.isRemoved)
    }

    /// Marks every replica: an unknown write was lost, of which no more is known than `claims`.
    mutating func markAllRecovering(claims: [LogKey: LogIndex]) {
        for key in Array(replicas.keys) {
            guard var replica = replicas[key] else { continue }
            let until = max(replica.last.next, claims[key] ?? .zero)
            replica.recoveringUntil = max(until, replica.recoveringUntil ?? .zero)
            replicas[key] = replica
        }
    }

    /// Takes the replica out of the table, so that it is changed in place, and installs the write's snapshot.
    private mutating func take(_ head: LogHeads.Write) -> Replica {
        var replica: Replica
        if let known = replicas.removeValue(forKey: head.key) {
            replica = known
        } else {
            guard let created = head.write.created else {
                preconditionFailure("\(head.key) has no replica here")
            }
            replica = Replica(identity: created)
        }
        if let snapshot = head.write.snapshot {
            let base = head.newBase ?? snapshot.position
            if head.keepsTail {
                compact(&replica, through: base.index)
            } else {
                truncate(&replica, from: replica.base.index.next)
            }
            replica.base = base
            replica.snapshot = snapshot
        }
        return replica
    }

    private mutating func putBack(_ replica: Replica, isRemoved: Bool) {
        guard isRemoved else {
            replicas[replica.identity.key] = replica
            return
        }
        drop(replica)
        removed.append(replica.identity)
    }

    private mutating func append(_ logged: LoggedEntries, to replica: inout Replica, place: Place) {
        let entries = logged.entries.drop { $0.index <= replica.snapshotIndex }
        guard let first = entries.first else { return }
        if !mutated(.replayKeepsReplacedTail) { truncate(&replica, from: first.index) }
        for entry in entries {
            extend(&replica.runs, with: entry, place: place)
            if entry.kind == .configuration { replica.configurations.append(entry) }
        }
        if keepsEntries { replica.entries.append(contentsOf: entries) }
        note(logged.payloads.drop { $0.index <= replica.snapshotIndex }, in: &replica)
        usage[place.segment, default: Usage()].entries += entries.count
        usage[place.segment, default: Usage()].bytes += entries.reduce(0) {
            $0 + $1.payload.count + Self.entryOverheadBytes
        }
    }

    /// Adds places of entries that are not there.
    mutating func extend(_ replica: inout Replica, through last: LogIndex, in segment: UInt64) {
        let run = Run(first: replica.last.next, last: last, term: .zero, segment: segment, bytes: 0)
        replica.runs.append(run)
        account(run, 1)
    }

    func extend(_ runs: inout [Run], with entry: Entry, place: Place) {
        let bytes = entry.payload.count + Self.entryOverheadBytes
        let mark = Mark(first: entry.index, offset: place.offset)
        let end = runs.count - 1
        if end >= 0, runs[end].term == entry.term, runs[end].segment == place.segment,
            runs[end].last.next == entry.index
        {
            runs[end].last = entry.index
            runs[end].bytes += bytes
            let marked = runs[end].marks[runs[end].marks.count - 1].offset
            if place.offset - marked >= Mark.spacing { runs[end].marks.append(mark) }
        } else {
            runs.append(
                Run(
                    first: entry.index, last: entry.index, term: entry.term, segment: place.segment,
                    bytes: bytes, marks: [mark]))
        }
    }
}

// MARK: Cutting

extension LogTable {
    /// Drops the entries from `index` on.
    mutating func truncate(_ replica: inout Replica, from index: LogIndex) {
        while let run = replica.runs.last, run.last >= index {
            replica.runs.removeLast()
            account(run, -1)
            guard run.first < index else { continue }
            let kept = run.part(first: run.first, last: index.previous)
            replica.runs.append(kept)
            account(kept, 1)
        }
        while let change = replica.configurations.last, change.index >= index { replica.configurations.removeLast() }
        dropPayloads(of: &replica, from: index)
        if keepsEntries {
            replica.entries.removeLast(
                replica.entries.count - replica.base.index.distance(to: replica.last))
        }
    }

    /// Drops the entries up to `index`, which the log holds.
    mutating func compact(_ replica: inout Replica, through index: LogIndex) {
        if keepsEntries { replica.entries.removeFirst(replica.base.index.distance(to: index)) }
        replica.configurations.removeAll { $0.index <= index }
        dropPayloads(of: &replica, through: index)
        let passed = replica.runs.prefix { $0.last <= index }
        for run in passed { account(run, -1) }
        replica.runs.removeFirst(passed.count)
        guard let run = replica.runs.first, run.first <= index else { return }
        replica.runs[0] = run.part(first: index.next, last: run.last)
        account(run, -1)
        account(replica.runs[0], 1)
    }

    /// Gives up all that a replica holds, which is no longer in the table.
    mutating func drop(_ replica: Replica) {
        for run in replica.runs { account(run, -1) }
        for payload in replica.payloads { payloadUses.remove(payload.reference) }
    }

    mutating func account(_ run: Run, _ sign: Int) {
        var segment = usage[run.segment] ?? Usage()
        segment.entries += sign * run.count
        segment.bytes += sign * run.bytes
        precondition(
            segment.entries >= 0,
            "segment \(run.segment) would hold \(segment.entries) live entries")
        usage[run.segment] = segment.entries == 0 ? nil : segment
    }
}

extension LogTable.Run {
    func part(first: LogIndex, last: LogIndex) -> Self {
        var part = self
        part.first = first
        part.last = last
        part.bytes = Int(Double(bytes) * Double(part.count) / Double(count))
        let begin = marks.lastIndex { $0.first <= first } ?? 0
        part.marks = marks[begin...].filter { $0.first <= last }
        return part
    }
}
