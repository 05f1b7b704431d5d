@testable import FlotillaRaft

/// What must hold across replicas and over time, recomputed from what a cluster shows: disks, messages, indexes.
///
/// Election safety, log matching, leader completeness and state machine safety are those of the Raft paper (figure 3).
struct ClusterChecks {
    /// A replica as it was looked at last, in its present boot.
    struct Seen {
        var boot: Int
        var term: Term
        var vote: ReplicaID?
        var commit: LogIndex
        var applied: LogIndex
        var isLeader: Bool
        var matches: [ReplicaID: LogIndex]
    }

    struct Ballot: Hashable {
        var voter: ReplicaID
        var term: Term
    }

    /// An entry that some replica knew to be committed, and the latest term in which that can have happened.
    struct Committed: Hashable {
        var entry: Entry
        var by: Term
    }

    var seen: [ReplicaID: Seen] = [:]
    var leaders: [Term: ReplicaID] = [:]
    /// Whom a vote was given to, by a message that has left.
    var ballots: [Ballot: ReplicaID] = [:]
    var committed: [LogIndex: Committed] = [:]
    private(set) var commitMax = LogIndex(1)

    mutating func add(_ entry: Entry, by term: Term) {
        committed[entry.index] = Committed(entry: entry, by: term)
        commitMax = max(commitMax, entry.index)
    }
}

extension Cluster {
    func fail(_ what: @autoclosure () -> String) {
        if failure == nil { failure = what() }
    }

    /// After something happened to a replica.
    func check(_ id: ReplicaID) {
        guard let replica = replicas[id], replica.isUp else { return }
        checkMonotony(id, replica)
        checkCommitted(id, replica)
        if replica.raft.role == .leader { checkLeader(id, replica) }
        let isLeader = replica.raft.role == .leader
        checks.seen[id] = .init(
            boot: replica.bootCount, term: replica.raft.term, vote: replica.raft.vote, commit: replica.raft.log.commit,
            applied: replica.raft.log.applied, isLeader: isLeader,
            matches: isLeader
                ? Dictionary(uniqueKeysWithValues: replica.raft.progress.map { ($0.replica, $0.match) }) : [:])
    }

    private func checkMonotony(_ id: ReplicaID, _ replica: Replica) {
        guard let before = checks.seen[id], before.boot == replica.bootCount else { return }
        let log = replica.raft.log
        if replica.raft.term < before.term { fail("the term of \(id) fell from \(before.term): \(replica.summary)") }
        if log.commit < before.commit { fail("the commit index of \(id) fell: \(replica.summary)") }
        if log.applied < before.applied { fail("the applied index of \(id) fell: \(replica.summary)") }
        guard replica.raft.term == before.term else { return }
        if let vote = before.vote, replica.raft.vote != vote {
            fail("\(id) voted for \(vote) and took it back: \(replica.summary)")
        }
        for member in replica.raft.progress where before.isLeader && !member.isRecovering {
            if let match = before.matches[member.replica], member.match < match {
                fail("the match of \(member.replica) fell from \(match) to \(member.match) on \(replica.summary)")
            }
        }
    }

    /// Committed entries never change, and whoever leads counts only what a quorum's disks hold.
    private func checkCommitted(_ id: ReplicaID, _ replica: Replica) {
        let commit = replica.raft.log.commit
        let before = checks.seen[id].map { $0.boot == replica.bootCount ? $0.commit : .zero } ?? .zero
        var index = max(before, replica.raft.log.offset).next
        while index <= commit, let entry = replica.entry(at: index) {
            if let known = checks.committed[index], known.entry != entry {
                fail("\(id) committed \(entry), others \(known.entry)")
            }
            if checks.committed[index] == nil { checks.add(entry, by: replica.raft.term) }
            index = index.next
        }
        guard replica.raft.role == .leader, commit > before, before > .zero else { return }
        let configuration = replica.raft.configuration
        for voters in [configuration.voters, configuration.outgoingVoters] where !voters.isEmpty {
            let holders = voters.filter { holds($0, commit, replica.raft.log.term(at: commit)) }
            if 2 * holders.count <= voters.count {
                fail("\(id) committed \(commit), which only \(holders) of \(voters) hold: \(replica.summary)")
            }
        }
    }

    /// Whether the disk has the entry. What a damaged disk acknowledged before counts still.
    private func holds(_ id: ReplicaID, _ index: LogIndex, _ term: Term?) -> Bool {
        guard let disk = replicas[id]?.disk else { return false }
        if let snapshot = disk.snapshot, snapshot.index >= index { return true }
        if let end = disk.recoveringUntil, end >= index { return true }
        return disk.entries.contains { $0.index == index && $0.term == term }
    }

    /// One leader per term, with everything that was committed in earlier ones.
    private func checkLeader(_ id: ReplicaID, _ replica: Replica) {
        let term = replica.raft.term
        if let other = checks.leaders[term], other != id { fail("\(id) and \(other) both lead in term \(term)") }
        if checks.leaders[term] != nil { return }
        checks.leaders[term] = id
        for (index, known) in checks.committed where known.by < term && index >= replica.raft.firstIndex {
            if replica.raft.term(at: index) != known.entry.term {
                fail("\(id) leads in term \(term) without committed entry \(index) of term \(known.entry.term)")
            }
        }
    }

    /// A vote, or a request for one, leaves: nobody gives two in a term, whatever happened to its disk since.
    func checkBallot(_ message: Message) {
        let candidate: ReplicaID
        switch message.body {
        case .voteResponse(granted: true): candidate = message.to
        case .vote: candidate = message.from
        default: return
        }
        let ballot = ClusterChecks.Ballot(voter: message.from, term: message.term)
        if let other = checks.ballots[ballot], other != candidate {
            fail("\(message.from) voted for \(other) and \(candidate) in term \(message.term)")
        }
        checks.ballots[ballot] = candidate
    }

    /// Where two logs hold an entry of the same index and term, they agree on everything before it.
    func checkLogsMatch() {
        for (position, id) in ids.enumerated() {
            let log = replicas[id]!.raft.log
            for other in ids.dropFirst(position + 1) { checkMatch(id, other) }
            if log.window.settledBytes != log.window.recomputedSettledBytes {
                fail("\(id) counts \(log.window.settledBytes) bytes of \(log.window.recomputedSettledBytes) in memory")
            }
        }
    }

    private func checkMatch(_ id: ReplicaID, _ other: ReplicaID) {
        let (one, two) = (replicas[id]!, replicas[other]!)
        let (log, otherLog) = (one.raft.log, two.raft.log)
        var index = min(log.lastIndex, otherLog.lastIndex)
        let first = max(log.firstIndex, otherLog.firstIndex)
        var mustAgree = false
        while index >= first {
            let (entry, otherEntry) = (one.entry(at: index), two.entry(at: index))
            mustAgree = mustAgree || entry?.term == otherEntry?.term
            if mustAgree, entry != otherEntry {
                return fail("\(id) and \(other) agree behind \(index), but not there: \(entry!), \(otherEntry!)")
            }
            index = index.previous
        }
    }

    /// What is in force is what was applied: by the log, or by the snapshot below it.
    func checkConfiguration(_ id: ReplicaID) {
        guard let replica = replicas[id], replica.isUp, replica.machine.index == replica.raft.appliedIndex else {
            return
        }
        if replica.raft.configuration != replica.machine.configuration {
            fail("\(id) uses a configuration that neither its log nor its snapshot holds: \(replica.summary)")
        }
    }

    /// Nothing is on its way: nothing may be counted as if it were.
    func checkIdle() {
        for id in ids where replicas[id]!.isUp {
            let raft = replicas[id]!
            if raft.uncommittedBytes != 0, raft.appliedIndex == raft.lastIndex {
                fail("\(id) counts \(raft.uncommittedBytes) bytes that are applied: \(raft.summary)")
            }
            guard raft.status.role == .leader else { continue }
            for member in raft.progress where member.match == raft.lastIndex {
                if member.inflights.count != 0 || member.inflights.bytes != 0 {
                    fail("\(id) counts \(member.inflights.bytes) bytes to \(member.replica), which has everything")
                }
            }
        }
    }
}
