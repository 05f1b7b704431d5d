// Known bugs of Raft cores, built in behind a switch so that the tests can be shown to find them. Only a package that is
// built with FLOTILLA_MUTANTS=1 contains them; everywhere else `mutated` is false at compile time.

/// A bug that the tests must find. `make mutants` puts in one at a time; Sources/Actors/Mutant.swift has those that are
/// not the core's.
///
/// The number in front of a description is that of the bug in Tests/Mutants/TRAPS.md; "own" marks what only this
/// design can get wrong.
enum Mutant: String {
    // MARK: Votes, terms, elections
    /// 1: asks for votes before its own vote is durable
    case asksBeforeVoteIsDurable
    /// 2: goes on voting after its storage failed
    case votesAfterStorageFailure
    /// 3: forgets its vote when it steps down within a term
    case forgetsVoteOnStepDown
    /// 4: puts up with a second leader of the same term
    case toleratesSecondLeader
    /// 5: a request for a pre-vote raises the term of whoever answers
    case preVoteRaisesTerm
    /// 6: leaves a pre-vote of an earlier term without an answer
    case ignoresPreVoteOfEarlierTerm
    /// 6: tells a leader of an earlier term nothing
    case ignoresLeaderOfEarlierTerm
    /// 7: counts pre-votes of an earlier round
    case countsStalePreVotes
    /// 8: compares logs by their length alone
    case comparesLogsByLength
    /// 9: restarts in the term of its log's end
    case restartsInTermOfLog
    /// 10: campaigns while a received snapshot is not installed
    case campaignsWithPendingSnapshot
    /// 11: campaigns as a learner, or outside the configuration
    case campaignsWithoutVote
    /// 11: counts the votes of those who are no voters
    case countsVotesOfStrangers
    /// 12: a joint decision needs one majority of the union
    case talliesUnionOfJointVoters
    /// 13: learners count towards the commit index
    case countsLearners
    /// 14: a leader that hears no quorum goes on leading
    case leadsWithoutQuorum
    /// 14: votes are granted although the leader is heard
    case ignoresLeaseOfLeader

    // MARK: Commit
    /// 15: commits entries of earlier terms by counting (Raft paper, figure 8)
    case commitsEarlierTermsByCounting
    /// 16: a quorum is half of the voters
    case countsHalfAsQuorum
    /// 17: the completion of a write of an earlier term counts (ABA)
    case countsCompletionsOfEarlierTerms
    /// 17: acknowledgements of an earlier term count
    case countsAcknowledgementsOfEarlierTerms
    /// 18: an overtaken refusal lowers match
    case refusalLowersMatch
    /// 19: match follows the last acknowledgement, also downwards
    case matchFallsWithAcknowledgement
    /// 20: the commit index on disk is that of the last page that was handed out
    case persistsPagedCommit
    /// 21: a single voter commits before its disk has the entry
    case singleVoterCommitsAtOnce
    /// 22: a leader counts itself before its disk has the entry
    case leaderCountsItselfBeforeDisk
    /// 22: a leader counts itself after its vote was taken away
    case removedLeaderCountsItself
    /// 23: a recovering replica does not say that it is recovering
    case recoveringReplicaKeepsQuiet
    /// 24: a follower commits beyond what an append verified
    case commitsUnverifiedPrefix
    /// 25: entries count as applied when they are handed out
    case countsAppliedAtHandOut
    /// 25: after a restart, committed entries count as applied
    case restartsAsApplied

    // MARK: Log
    /// 26: an append cuts the tail although it agrees with it
    case truncatesOnOverlap
    /// 27: a completion that comes late takes back a later one
    case lateCompletionLowersDurable
    /// 28: the term of a compacted entry is 0
    case compactedTermIsZero
    /// 34: a leader whose log is compacted to its end offers no snapshot
    case noSnapshotFromEmptyLog
    /// 35: a refusal does not move the next probe
    case refusalMovesNothing
    /// 36: the count of bytes in flight is never reduced
    case leaksInFlightBytes
    /// 36: the count of unapplied bytes survives the loss of leadership
    case leaksUnappliedBytes
    /// 38: a malformed append is taken at its word
    case trustsMalformedAppends

    // MARK: Snapshots
    /// 39: a snapshot replaces a log that holds its last entry
    case snapshotWipesMatchingLog
    /// 40: entries are handed out beside a snapshot that is not installed
    case appliesBesideSnapshot
    /// 41: a received snapshot does not bring its configuration
    case snapshotKeepsConfiguration
    /// 41: a joint configuration loses its outgoing half in a snapshot
    case snapshotDropsJointHalf
    /// 42: a member stays in the snapshot state although it has caught up
    case staysInSnapshotState
    /// 43: a candidate takes a snapshot without following its leader
    case candidateTakesSnapshot
    /// 44: a snapshot at the commit index replaces what is there
    case takesSnapshotAtCommit

    // MARK: Membership
    /// 47: a new leader takes a change before it has applied what its predecessors left
    case takesChangeAtOnce
    /// 48: campaigns while a committed change is not applied
    case campaignsWithUnappliedChange
    /// 48: a second change is taken while one is pending
    case takesTwoChanges
    /// 49: entries are written without the commit index that covers the change before them
    case writesEntriesWithoutCommit
    /// 50: a learner refuses its vote to those who know that it is a voter
    case learnerRefusesVote
    /// 51: leadership is offered to a learner
    case transfersToLearner
    /// 51: leadership is offered to a voter whose log is not complete
    case transfersToLaggard
    /// 53: the leaving of a joint configuration is proposed again and again
    case leavesJointRepeatedly

    // MARK: Reads
    /// 54: reads are served before an entry of the leader's term is committed
    case readsBeforeOwnCommit
    /// 55: a late answer to an earlier round confirms a later read
    case confirmsReadsByEarlierRounds
    /// 56: reads are answered without a quorum
    case readsWithoutQuorum

    /// 57: a lease is kept while leadership is handed over
    case keepsLeaseInTransfer
    /// 57: a lease starts when the answer comes, not when the heartbeat left
    case leaseStartsWithAnswer
    /// 57: a vote is given against the promise that lies in an answer to a leader
    case votesAgainstLeasePromise

    // MARK: Liveness
    /// liveness: heartbeats wait for the disk
    case heartbeatsWaitForDisk

    // MARK: This design
    /// own: promises leave although a write before them is not durable
    case promisesBesideOutstandingWrites
    /// own: what was read for an earlier reign is sent
    case takesReadsOfEarlierReigns
    /// own: a recovering replica votes
    case recoveringReplicaVotes
    /// own: a recovering replica campaigns
    case recoveringReplicaCampaigns
    /// own: the recovery ends without a leader
    case recoveryEndsByItself
    /// own: a log that lacks what was known to be committed is not recovering
    case forgetsMissingCommit
    /// own: entries are compacted before they are durable
    case compactsBeforeDurable
    /// own: a received snapshot is acknowledged before it is durable
    case acknowledgesSnapshotAtOnce
    /// own: the own vote counts before it is durable
    case countsOwnVoteAtOnce
    /// own: votes are answered before they are durable
    case answersVotesAtOnce
    /// own: a heartbeat names a commit index that the follower may not hold
    case heartbeatNamesWholeCommit
    /// own: a follower goes quiet although it lacks entries
    case laggardGoesQuiet
    /// own: a leader goes quiet although a live member lacks entries
    case leaderIgnoresLaggards
    /// own: a quiet replica goes on counting ticks
    case quietReplicaCountsTicks
    /// own: a removed leader leaves before another has its log
    case removedLeaderLeavesAtOnce
    /// own: an outvoted replica ignores its tail also where quorums needed its vote
    case outvotedIgnoresTail
    /// own: an outvoted replica holds its tail against everyone
    case outvotedKeepsTail
    /// own: replica ids are issued again
    case reissuesReplicaIDs
}

#if FLOTILLA_MUTANTS
    // The core imports nothing, so it declares what it needs of the C library.
    @_silgen_name("getenv")
    private func environmentValue(_ name: UnsafePointer<CChar>) -> UnsafePointer<CChar>?

    /// The name of the mutant that this process is, from FLOTILLA_MUTANT.
    package let activeMutant = environmentValue("FLOTILLA_MUTANT").map { String(cString: $0) }

    private let active = activeMutant.flatMap(Mutant.init(rawValue:))

    func mutated(_ mutant: Mutant) -> Bool { mutant == active }
#else
    @inline(__always)
    func mutated(_ mutant: Mutant) -> Bool { false }
#endif
