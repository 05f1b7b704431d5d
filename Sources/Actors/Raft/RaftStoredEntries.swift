// Entries that are on disk and not in memory any more: a member that lags gets them, and a restarted replica applies
// them. The core asks for a page by `Effects.reads`; nothing but that one member, or the applying, waits for it.

/// Entries that the shell is to read from its log store, and to give back by `Raft.readCompleted(_:entries:)`.
public struct LogRead: Hashable, Sendable {
    public enum Purpose: Hashable, Sendable {
        case apply
        case send(to: ReplicaID)
    }

    public var purpose: Purpose
    /// The first entry that is wanted. At least this one has to be read.
    public var first: LogIndex
    /// About as many bytes are enough.
    public var bytesMax: Int
    /// The term in which it was asked for.
    public var term: Term

    public init(purpose: Purpose, first: LogIndex, bytesMax: Int, term: Term) {
        self.purpose = purpose
        self.first = first
        self.bytesMax = bytesMax
        self.term = term
    }
}

extension Raft {
    /// The shell has read entries of this replica's own log from its disk. What is not wanted any more is dropped: the
    /// reign is over, the member has gone on without them, a snapshot has replaced them.
    /// - Parameter entries: from `read.first` on, in order; empty where the disk does not hold it.
    /// - Returns: false if the disk lacks entries that this replica's log contains: it has lost what it acknowledged,
    ///   and the replica must stop.
    public mutating func readCompleted(_ read: LogRead, entries: [Entry]) -> Bool {
        if isFenced { return true }
        defer { checkInvariants() }
        switch read.purpose {
        case .apply: return log.takePage(entries, from: read.first)
        case .send(let replica): return take(entries, of: read, for: replica)
        }
    }

    /// Asks for what a member lacks next. One read at a time for each member, which gets nothing else meanwhile.
    mutating func askForEntries(of member: Int) {
        progress[member].awaitedRead = progress[member].next
        outbox.reads.append(
            LogRead(
                purpose: .send(to: progress[member].replica), first: progress[member].next,
                bytesMax: options.maxAppendBytes, term: term))
    }

    private mutating func take(_ entries: [Entry], of read: LogRead, for replica: ReplicaID) -> Bool {
        guard role == .leader, read.term == term || mutated(.takesReadsOfEarlierReigns),
            let member = position(of: replica), progress[member].awaitedRead == read.first
        else { return true }
        progress[member].awaitedRead = nil
        if progress[member].next != read.first || read.first <= log.offset || progress[member].isThrottled {
            // It has gone on meanwhile, or the entries are compacted: it gets what it needs now.
            sendAppend(to: member, evenIfEmpty: true)
            return true
        }
        let known = log.known(entries, from: read.first)
        if known.isEmpty { return false }
        sendAppend(Array(known), to: member)
        while sendAppend(to: member, evenIfEmpty: false) {}
        return true
    }
}
