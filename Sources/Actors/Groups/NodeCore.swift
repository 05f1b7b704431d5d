public import FlotillaIO
public import FlotillaRaft

/// One node's consensus half: its loop's scheduler, its transport, and the groups that it hosts. The runtime above it
/// decides what the groups mean.
public final class NodeCore: Sendable {
    public let node: NodeID
    public let loop: any Loop
    public let hosted = HostedGroups()
    public let featureLevel: FeatureLevel
    let scheduler: GroupScheduler
    let transport: Transport
    let context: GroupContext
    let changes = PendingChanges()
    let snapshotStore: SnapshotStore
    let registry: StateMachineRegistry
    /// Replicas that once lived here.
    let removed = Lock<[ReplicaIdentity]>([])
    let logger: FlotillaLogger

    /// What a core is made of.
    public struct Parts: Sendable {
        public var identity: NodeIdentity
        public var boot: UInt64
        public var address: String
        public var loop: any Loop
        public var network: any Network
        public var store: any LogStore
        public var logWorker: any Worker
        /// Reads what is not in memory any more. Another one than the log's, whose fsyncs would hold it up.
        public var readWorker: any Worker
        public var snapshots: SnapshotStore
        public var settings: GroupSettings
        public var registry: StateMachineRegistry
        public var featureLevel: FeatureLevel
        public var capabilities: [String]
        public var seed: UInt64
        public var logger: FlotillaLogger
        /// Set by simulations, to compare replicas.
        package var observer: (any GroupObserver)?
        public init(
            identity: NodeIdentity, boot: UInt64, address: String, loop: any Loop, network: any Network,
            store: any LogStore, logWorker: any Worker, readWorker: any Worker, snapshots: SnapshotStore,
            settings: GroupSettings, registry: StateMachineRegistry, featureLevel: FeatureLevel, capabilities: [String],
            seed: UInt64,
            logger: FlotillaLogger
        ) {
            self.identity = identity
            self.boot = boot
            self.address = address
            self.loop = loop
            self.network = network
            self.store = store
            self.logWorker = logWorker
            self.readWorker = readWorker
            self.snapshots = snapshots
            self.settings = settings
            self.registry = registry
            self.featureLevel = featureLevel
            self.capabilities = capabilities
            self.seed = seed
            self.logger = logger
        }
    }

    public init(_ parts: Parts) {
        node = parts.identity.node
        loop = parts.loop
        snapshotStore = parts.snapshots
        registry = parts.registry
        featureLevel = parts.featureLevel
        logger = parts.logger
        context = GroupContext(
            node: parts.identity.node, boot: parts.boot, loop: parts.loop, settings: parts.settings,
            snapshotStore: parts.snapshots, featureLevel: parts.featureLevel, seed: parts.seed, logger: parts.logger,
            observer: parts.observer)
        scheduler = GroupScheduler(
            context, store: parts.store, logWorker: parts.logWorker, readWorker: parts.readWorker)
        transport = Transport(
            loop: parts.loop, network: parts.network,
            hello: Hello(
                cluster: parts.identity.cluster, node: parts.identity.node, instance: parts.identity.instance,
                boot: parts.boot, featureLevel: parts.featureLevel.supported, address: parts.address,
                purpose: .consensus, capabilities: parts.capabilities),
            lastWrite: { [store = parts.store] in store.lastWrite },
            settings: parts.settings, seed: parts.seed, logger: parts.logger)
        context.attach(scheduler)
    }

    /// Runs `body` on the loop and waits for it. It is not cancelled with the task: clean-up needs it as well.
    public func onLoop<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            loop.execute { continuation.resume(returning: body()) }
        }
    }

    // MARK: Life

    /// Listens.
    /// - Returns: the address in force.
    public func start(listen address: String) async throws -> String {
        try await onLoop { [self] () -> Result<String, any Error> in
            Result {
                let bound = try transport.assumeOnLoop { try $0.listen(on: address) }
                scheduler.assumeOnLoop { $0.start(transport: transport) }
                transport.assumeOnLoop { $0.start(scheduler: scheduler) }
                return bound
            }
        }.get()
    }

    /// Begins to step the recovered groups; from now on a leader may bring other replicas to life here.
    /// - Parameter snapshots: the bytes of each recovered group's snapshot.
    public func host(_ recovered: RecoveredLog, snapshots: [GroupID: [UInt8]]) async throws {
        try await onLoop { [self] () -> Result<Void, any Error> in
            Result {
                for group in recovered.groups {
                    try host(group.replica, recovered: group, snapshot: snapshots[group.replica.group])
                }
                removed.withLock { $0 = recovered.removedReplicas }
                scheduler.assumeOnLoop { $0.makeReplica = { [weak self] in self?.makeReplica(for: $0) } }
            }
        }.get()
    }

    /// Ends groups, timers and connections. Whoever waits for a group is told why.
    public func stop() async {
        let reason = GroupError(.stopped, "the node has shut down")
        hosted.close(reason)
        await onLoop { [self] in
            scheduler.assumeOnLoop { $0.stop(reason) }
            transport.assumeOnLoop { $0.stop() }
        }
        changes.close(reason)
        context.setMembersHandler(nil)
        context.setWishHandler(nil)
    }

    // MARK: Groups

    func host(_ identity: ReplicaIdentity, recovered: RecoveredLog.Group?, snapshot: [UInt8]?) throws {
        guard let machine = registry.make(identity.kind, for: identity.group) else {
            throw GroupError(
                .unknownGroup,
                "the log holds \(identity.group) of \(identity.kind), which this binary does not know: upgrade it")
        }
        let group = RaftGroup(identity, in: context, recovered: recovered, machine)
        if recovered?.snapshot != nil {
            let bytes = snapshot ?? []
            try group.assumeOnLoop { try $0.restoreAtStart(bytes) }
        }
        scheduler.assumeOnLoop { $0.add(group) }
        hosted.add(group)
    }

    /// Takes a message as one that was read from a peer's frame. Loop only, for measurements.
    package func receive(
        _ message: Message, of group: GroupID, incarnation: UInt64, kind: GroupKind, from node: NodeID
    ) {
        let routed = RoutedMessage(group: group, incarnation: incarnation, kind: kind, message: message)
        scheduler.assumeOnLoop { $0.receive(routed, from: node) }
    }

    // MARK: Cluster

    /// Where other nodes may be found; the truth comes with their hello.
    public func addPeers(_ addresses: [NodeID: String]) {
        loop.execute { [transport] in
            transport.assumeOnLoop { transport in
                for (node, address) in addresses.sorted(by: { $0.key < $1.key }) {
                    transport.addPeer(node, address: address)
                }
            }
        }
    }

    /// Where nodes of the cluster may be found that this one knows nothing else of.
    public func setSeeds(_ addresses: [String]) {
        loop.execute { [transport] in transport.assumeOnLoop { $0.setSeeds(addresses) } }
    }

    /// What the management group says: who belongs to the cluster, under which instance, and where.
    public func setMembers(_ members: [NodeID: (instance: UInt64, address: String)]) {
        loop.execute { [transport] in
            transport.assumeOnLoop { transport in
                transport.setMembers(members.mapValues(\.instance))
                for (node, member) in members.sorted(by: { $0.key < $1.key }) {
                    transport.addPeer(node, address: member.address)
                }
            }
        }
    }

    /// With whom this node exchanges heartbeats all the time, because either must notice the other's end at once; nil for
    /// all peers. Others exchange one a second.
    public func setNeighbours(_ nodes: Set<NodeID>?) {
        loop.execute { [transport] in transport.assumeOnLoop { $0.setNeighbours(nodes) } }
    }

    /// Whom management wants in these groups from now on; nil where it does not say. Others stay as they are.
    public func setDesired(_ changed: [GroupID: DesiredMembers?]) {
        loop.execute { [scheduler] in scheduler.assumeOnLoop { $0.setDesired(changed) } }
    }

    public func setCluster(_ cluster: UInt64) async {
        await onLoop { [transport] in transport.assumeOnLoop { $0.setCluster(cluster) } }
    }

    /// A request of another node to become a member, and the way to answer it.
    public struct JoinQuestion: Sendable {
        public let node: NodeID
        public let instance: UInt64
        public let address: String
        public let httpAddress: String
        public let featureLevel: UInt32
        let answer: @Sendable (JoinResponse) -> Void

        /// - Parameter refusal: nil when the node is a member now.
        public func reply(cluster: UInt64, refusal: String?) {
            answer(
                JoinResponse(
                    cluster: cluster, refusal: refusal.map { Refusal(code: .duplicateNode, message: $0) }))
        }

        /// Asks the other node to try again later.
        public func replyNotReady(_ reason: String) {
            answer(JoinResponse(cluster: 0, refusal: Refusal(code: .notReady, message: reason)))
        }
    }

    /// - Parameter handler: called on the loop for each request.
    public func setJoinHandler(_ handler: @escaping @Sendable (JoinQuestion) -> Void) async {
        await onLoop { [transport] in
            transport.assumeOnLoop { transport in
                transport.joinHandler = { request, answer in
                    handler(
                        JoinQuestion(
                            node: request.node, instance: request.instance, address: request.address,
                            httpAddress: request.httpAddress, featureLevel: request.featureLevel, answer: answer))
                }
            }
        }
    }

    public enum JoinOutcome: Sendable {
        case member(cluster: UInt64)
        /// For good: another attempt would get the same answer.
        case refused(String)
        case tryAgain(String)
    }

    /// Asks the node at `address` for membership.
    public func join(at address: String, httpAddress: String) async -> JoinOutcome {
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                loop.execute { [transport] in
                    transport.assumeOnLoop { transport in
                        transport.join(at: address, httpAddress: httpAddress) { continuation.resume(returning: $0) }
                    }
                }
            }
        } onCancel: {
            loop.execute { [transport] in transport.assumeOnLoop { $0.abandonJoin() } }
        }
        switch outcome {
        case .failure(let error): return .tryAgain(error.description)
        case .success(let response):
            guard let refusal = response.refusal else { return .member(cluster: response.cluster) }
            return refusal.code == .notReady ? .tryAgain(refusal.message) : .refused(refusal.message)
        }
    }

    /// Asks the node at `address` which cluster it belongs to; nil if it does not answer or belongs to none.
    public func cluster(at address: String) async -> UInt64? {
        await withCheckedContinuation { continuation in
            loop.execute { [transport] in
                transport.assumeOnLoop { transport in
                    transport.probe(address) { continuation.resume(returning: $0) }
                }
            }
        }
    }

    /// How long nothing was heard of a node. Loop only.
    public func silence(of node: NodeID) -> Duration? { transport.assumeOnLoop { $0.silence(of: node) } }

    /// What this node has counted since it started.
    public func counters() async -> (scheduler: SchedulerMetrics, transport: TransportMetrics) {
        await onLoop { [scheduler, transport] in
            (scheduler.assumeOnLoop { $0.counters() }, transport.assumeOnLoop { $0.metrics })
        }
    }

    /// What an operator should know of nodes of other clusters that call this one; nil if none did.
    public func strangersCall() async -> String? {
        await onLoop { [transport] in transport.assumeOnLoop { $0.strangersCall } }
    }

    /// - Parameter body: called on the loop with every tick.
    public func setTickHandler(_ body: @escaping @Sendable () -> Void) async {
        await onLoop { [scheduler] in scheduler.assumeOnLoop { $0.onTick = body } }
    }

    /// - Parameter handler: called on the loop when a group has other members. It must not block.
    public func setMembersHandler(_ handler: @escaping @Sendable (GroupID) -> Void) {
        context.setMembersHandler(handler)
    }

    /// The groups that have a member on a node, ascending. Loop only.
    public func groups(on node: NodeID) -> [GroupID] { scheduler.assumeOnLoop { $0.groupsByNode.all(on: node) } }

    // MARK: Handing over

    /// Asks `isDone` on the loop, again and again, until it says so or `deadline` has passed. Runs on the loop alone,
    /// so that it also works while the node's tasks are being cancelled.
    public func poll(until deadline: MonotonicTime, _ isDone: @escaping @Sendable () -> Bool) async {
        await withCheckedContinuation { continuation in
            loop.execute { [self] in pollStep(deadline, isDone) { continuation.resume() } }
        }
    }

    private func pollStep(
        _ deadline: MonotonicTime, _ isDone: @escaping @Sendable () -> Bool, _ finish: @escaping @Sendable () -> Void
    ) {
        guard !isDone(), loop.now < deadline else { return finish() }
        _ = loop.schedule(at: loop.now.advanced(by: Self.pollInterval)) { [self] in
            pollStep(deadline, isDone, finish)
        }
    }

    private static let pollInterval: Duration = .milliseconds(20)

    /// Gives leadership of every group to another voter, and waits until it is gone or `deadline` has passed.
    public func handOver(until deadline: MonotonicTime) async {
        await pollGroups(until: deadline) { [self] in handOver($0) }
    }

    /// Asks `body` on the loop which of all groups are not done, and then about those, again and again. Where none is left
    /// all are asked once more: a group may have got something to do meanwhile, such as to lead. Ends where none is left of
    /// all, or `deadline` has passed; otherwise as `poll`.
    public func pollGroups(
        until deadline: MonotonicTime, _ body: @escaping @Sendable ([RaftGroup]) -> [RaftGroup]
    ) async {
        let left = Lock<[RaftGroup]>([])
        await poll(until: deadline) { [self] in
            var groups = body(left.withLock { $0 })
            if groups.isEmpty { groups = body(scheduler.assumeOnLoop { $0.groupsInOrder }) }
            left.withLock { [groups] in $0 = groups }
            return groups.isEmpty
        }
    }

    /// Asks other voters to take over what this node leads. Loop only.
    /// - Returns: whether there was anything to hand over, and somebody to take it.
    @discardableResult
    package func handOverNow() -> Bool { !handOver(scheduler.assumeOnLoop { $0.groupsInOrder }).isEmpty }

    /// - Returns: those of `groups` where there was anything to hand over, and somebody to take it.
    private func handOver(_ groups: [RaftGroup]) -> [RaftGroup] {
        let left = groups.filter { group in
            group.assumeOnLoop { $0.stopReason == nil && $0.transferLeadership() }
        }
        for group in left { scheduler.assumeOnLoop { $0.markDirty(group) } }
        return left
    }
}
