import FlotillaRaft

/// Known bugs of what surrounds a Raft core: the log, its writer, groups, sessions, transport; and of the two tiers'
/// states. See the core's list.
package enum Mutant: String {
    // MARK: Log
    /// 29: entries that a write replaced come back after a restart
    case replayKeepsReplacedTail
    /// 30: a read that is confirmed while nothing is being applied is never answered
    case forgetsConfirmedReads
    /// 31: a segment is deleted although an entry in it is needed
    case deletesSegmentInUse
    /// 31: a dead segment goes before the directory entry of its predecessor has gone for good
    case deletesSegmentsWithoutSync
    /// 32: a group that was created again reads its previous life
    case ignoresIncarnationInLog
    /// 32: messages for an earlier life of a group are taken
    case ignoresIncarnationOfMessages
    /// 33: a segment that cannot be read counts as empty
    case readErrorEndsLog
    /// 37: what came while a write was on its way is lost
    case dropsWritesThatFill

    /// own: a batch names a payload file that is not durable yet
    case namesPayloadsBeforeTheyAreWritten
    /// own: a payload file goes before the batch is durable that makes it obsolete
    case removesPayloadsBeforeTheBatch
    /// own: a payload file goes with the first of the entries that share it
    case removesSharedPayloads

    // MARK: Messages
    /// own: a signal that is sent again is received again
    case takesRepeatedMessages
    /// own: what a run was told and has not received is gone when it goes on as a new execution
    case dropsWaitingMessages
    /// own: the end of a child that is told again replaces the one that was told first
    case takesRepeatedEnds
    /// own: what a run has to tell others is gone when it ends
    case forgetsPostsAtEnd
    /// own: the start of a child is lost when its parent goes on as a new execution meanwhile
    case forgetsFormerStarts
    /// own: what came of a message is not recorded where its sender has failed, so that it is sent again
    case forgetsAnswersOfFailedRuns

    /// own: a run is put to rest while one of its branches runs a step
    case restsBesideSteps
    /// own: what happens to a run between its being put to rest and its body's end is not heard
    case missesWakes

    /// own: what an attempt tells that has failed replaces what was told behind it
    case takesLateProgress

    /// own: starts are taken above the limits that they came with
    case admitsAboveLimits

    // MARK: Snapshots
    /// 45: files get their name before they are complete
    case writesFilesInPlace
    /// 46: a transfer asks for its beginning again and keeps what it had
    case rewindsTransfer

    // MARK: Membership
    /// A node that fell behind refuses a leader of management that joined since.
    case refusesUnknownLeaders
    /// 52: a replica that was removed from a node comes back
    case revivesRemovedReplica
    /// own: votes change hands one after the other, so that an even number counts on the way
    case changesVotersOneByOne
    /// own: a learner that was never heard of gets a vote
    case promotesSilentLearners
    /// own: votes go to members of which no majority is alive
    case votersNeedNotBeAlive

    // MARK: Reads
    /// 57: a quiet follower trusts its leader whatever its liveness epoch
    case ignoresLivenessEpoch
    /// 57: a node that stood still keeps its liveness epoch
    case keepsLivenessEpochAfterStall
    /// 57: the time in which the own loop stood still counts as silence of the others
    case countsOwnStallAsSilence

    // MARK: Disk and time
    /// 58: a failed write counts as done
    case ignoresFailedWrites
    /// 58: a failed fsync is tried again by the next write
    case retriesFailedSync
    /// 59: damage before the last batch is taken for a torn write
    case cutsDamageInTheMiddle
    /// 59: damage that may have been acknowledged leaves nobody recovering
    case forgetsAmbiguousTail
    /// 59: a replica that lost entries which it had acknowledged goes on as if it never had
    case forgetsLostEntries
    /// 59: a node that comes back with older data than it had acknowledged is taken for itself
    case welcomesOlderData
    /// 60: a new file's directory is not synced
    case skipsDirectorySync
    /// 60: records of another segment, or of another place in it, are valid
    case checksumsWithoutPlace
    /// 60: what a file held before it became a segment again stands right behind the last batch
    case leavesOldBytesBehindBatch
    /// 60: the zeros behind the last batch are damage
    case zerosAreDamage

    // MARK: Liveness
    /// liveness: the death of one node wakes all groups
    case deadNodeWakesAll

    // MARK: This design
    /// own: a read gives what a write under way has not made durable
    case readsWhatIsNotDurable
    /// own: a fetched snapshot is installed before it is saved
    case installsSnapshotBeforeItIsSaved
    /// own: what must wait for a write leaves together with it
    case sendsPromisesWithTheWrite
    /// own: a retried command is applied once more
    case appliesRetriesAgain
    /// own: sessions are not part of a snapshot
    case snapshotForgetsSessions
    /// own: a removed replica's late command is applied
    case appliesCommandsOfStrangers
    /// own: a cluster is destroyed although its log does not say that it is empty
    case destroysWithoutSeal
    /// own: a founder that was replaced founds its cluster again
    case foundersReturn
    /// own: a group that holds something is sealed
    case sealsWithRuns
    /// own: a transfer that comes again is taken again
    case importsTwice
    /// own: a run is given away before the home of its id knows where it is
    case completesBeforeHomeKnows
    /// own: an id is taken by a group that is not its home
    case startsAwayFromHome
    /// own: a late start begins a run once more that has left
    case startsDepartedRuns
    /// own: an id is reserved once more although its run has begun
    case replacesRunsThatBegan
    /// own: a home takes older news of a run for newer ones
    case believesOlderAddresses
    /// own: a home listens to a former one that it has replaced
    case believesFormerHomes
    /// own: a late command opens slots again that have a new home
    case opensSlotsAgain
    /// own: slots that are handed over while their next home looks for them count as lost
    case opensSlotsOnTheirWay
    /// own: two operators found a cluster anew at once, and both are obeyed
    case recoversTwice
    /// own: a group that is founded anew issues numbers again that the lost members may have issued
    case incarnationsShareNumbers
    /// own: a replica goes on although its group has another incarnation elsewhere
    case oldIncarnationsGoOn
    /// own: a node may come back without its data while a group still counts on what it held
    case forgetsDepartures
    /// own: a new leader adds members by what its node had heard before it led
    case addsByOldWishes
    /// own: the rebalancer removes a lost voter before another has caught up
    case replacesVotersAtOnce
}

#if FLOTILLA_MUTANTS
    private let active = activeMutant.flatMap(Mutant.init(rawValue:))

    package func mutated(_ mutant: Mutant) -> Bool { mutant == active }
#else
    @inline(__always)
    package func mutated(_ mutant: Mutant) -> Bool { false }
#endif
