public import FlotillaRaft

/// How groups behave in time and space. The defaults are the product's.
public struct GroupSettings: Sendable {
    /// The unit of a group's time; leaders of busy groups send a heartbeat each.
    public var tickInterval: Duration = .milliseconds(100)
    /// A follower campaigns after a random number of ticks in [electionTicks, 2 * electionTicks): 1 to 2 s.
    public var electionTicks = 10
    /// A node that was silent for this long is taken for dead by its peers.
    public var failureTimeout: Duration = .milliseconds(300)
    /// Ticks without work after which a group goes quiet. 0: never.
    public var quietAfterTicks = 3
    /// Entries applied between two snapshots of a group, at least: of a state above 1 MiB they are as many as it has pieces
    /// of 64 bytes, in doublings of this. All members take theirs at the same entries, other groups at others.
    public var snapshotThreshold = 10_000
    /// A message with more bytes of entries goes over the second connection, so that heartbeats and the messages of
    /// other groups do not wait behind it.
    public var consensusMessageLimit = 1 << 20
    /// A state of fewer bytes travels inside the message that announces its snapshot; others are fetched.
    public var snapshotEmbedLimit = 1 << 20
    /// How fast this node hands out snapshots, all of them together, so that commits keep their latency: at twice the
    /// default their 99th percentile rose by a quarter where six nodes shared two cores and a disk. Nil: as fast as it can.
    public var snapshotBytesPerSecond: Int? = 8 << 20
    /// How snapshots are cut and stored.
    public var snapshotFiles = SnapshotStore.Options()
    /// Entries kept in the log behind a snapshot, for followers that lag a little.
    public var entriesKeptBehindSnapshot = 1_000
    /// Bytes of each group's log that stay in memory when they are applied and on disk. What members need from before
    /// is read from the disk. The default is what one message holds, so that a follower that keeps up needs no reads.
    public var logWindowBytes = 1 << 20
    /// A proposal whose fate is unknown is sent again after this long, and after each change of leader.
    public var proposalRetryInterval: Duration = .seconds(1)
    /// How long a proposal or a read may wait for a leader and a majority before it fails as `timedOut`.
    public var requestTimeLimit: Duration = .seconds(30)
    /// Commands of one group that may wait for their outcome on one node; more are refused as `overloaded`.
    public var pendingProposalLimit = 16_384
    /// How leaders serve reads. A lease saves them the round of heartbeats, and trusts that the members' clocks run
    /// equally fast: all members of a group should have the same setting.
    public var readConsistency = ReadConsistency.quorum

    public init() {}

    /// For clusters on one fast network: a follower campaigns after 150 to 300 ms of silence, a heartbeat goes out every
    /// 50 ms. Elsewhere such times make leaders of healthy nodes lose their office.
    public static var fastElections: GroupSettings {
        var settings = GroupSettings()
        settings.tickInterval = .milliseconds(50)
        settings.electionTicks = 3
        settings.failureTimeout = .milliseconds(150)
        return settings
    }

    var raftOptions: RaftOptions {
        var options = RaftOptions()
        options.electionTicks = electionTicks
        options.quietAfterTicks = quietAfterTicks
        options.windowBytes = logWindowBytes
        options.reads = readConsistency
        options.skipsHeartbeatsBesideAppends = true
        options.sparesAnswersToNotices = true
        return options
    }
}
