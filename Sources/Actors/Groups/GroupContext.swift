import FlotillaIO
import FlotillaRaft

/// What all groups of a node have in common, once for all of them.
final class GroupContext: Sendable {
    let node: NodeID
    /// Of the node's data: higher with each start.
    let boot: UInt64
    let loop: any Loop
    let executor: UnownedSerialExecutor
    let settings: GroupSettings
    let raftOptions: RaftOptions.Shared
    let snapshotStore: SnapshotStore
    /// The level that the cluster agreed on; commands are proposed at it.
    let featureLevel: FeatureLevel
    /// Where the randomness of its groups begins.
    private let seed: UInt64
    let logger: FlotillaLogger
    let observer: (any GroupObserver)?
    /// The scheduler holds the groups, so they do not hold it. Read on the loop only, where an end of the node that lets
    /// go of it is seen.
    private let box = WeakBox<GroupScheduler>()

    init(
        node: NodeID, boot: UInt64, loop: any Loop, settings: GroupSettings, snapshotStore: SnapshotStore,
        featureLevel: FeatureLevel, seed: UInt64, logger: FlotillaLogger, observer: (any GroupObserver)?
    ) {
        self.node = node
        self.boot = boot
        self.loop = loop
        executor = loop.asUnownedSerialExecutor()
        self.settings = settings
        raftOptions = RaftOptions.Shared(settings.raftOptions)
        self.snapshotStore = snapshotStore
        self.featureLevel = featureLevel
        self.seed = seed
        self.logger = logger
        self.observer = observer
    }

    /// Of one group in one life of the node.
    func seed(of group: GroupID) -> UInt64 { seed ^ (group.rawValue &* 0x9E37_79B9_7F4A_7C15) ^ boot }

    func attach(_ scheduler: GroupScheduler) { box.set(scheduler) }

    private struct State {
        var membersHandler: (@Sendable (GroupID) -> Void)?
        var proposalRefusal: GroupError?
        var wishHandler: (@Sendable (GroupID, Term) -> Void)?
    }

    /// A closure in a struct: one that is a lock's whole state is wrapped once more with every look at it.
    private let state = Lock(State())

    /// - Parameter handler: called on the loop when a group has other members.
    func setMembersHandler(_ handler: (@Sendable (GroupID) -> Void)?) { state.withLock { $0.membersHandler = handler } }

    func membersDidChange(of group: GroupID) { state.withLock { $0.membersHandler }?(group) }

    /// Why this node cannot write proposals down for now; nil while it can.
    var proposalRefusal: GroupError? { state.withLock { $0.proposalRefusal } }

    func setProposalRefusal(_ refusal: GroupError?) { state.withLock { $0.proposalRefusal = refusal } }

    /// - Parameter handler: called on the loop when a group that leads here wants to add a member.
    func setWishHandler(_ handler: (@Sendable (GroupID, Term) -> Void)?) { state.withLock { $0.wishHandler = handler } }

    var wishHandler: (@Sendable (GroupID, Term) -> Void)? { state.withLock { $0.wishHandler } }

    /// Nil once the node has ended.
    var scheduler: GroupScheduler? { box.value }
}
