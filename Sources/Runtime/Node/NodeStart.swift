import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// From an opened store to a node that takes part in its cluster.
struct NodeStart {
    let configuration: NodeConfiguration
    let environment: NodeEnvironment
    let store: NodeStore
    private var core: NodeCore?
    private var random: SeededGenerator

    /// How long a node that has never belonged to a cluster asks its seeds before it gives up.
    static let joinTimeLimit: Duration = .seconds(60)
    static let joinRetryInterval: Duration = .milliseconds(300)

    init(configuration: NodeConfiguration, environment: NodeEnvironment, store: NodeStore) {
        self.configuration = configuration
        self.environment = environment
        self.store = store
        random = SeededGenerator(seed: environment.seed)
    }

    mutating func run(workflows: [any RegisterableWorkflow], api: HTTPAPI) async throws -> NodeServices {
        // Before anything begins: a name that is registered twice would be noticed by the first run.
        _ = try WorkflowEngine.definitions(of: workflows)
        var identity = try await identify()
        if store.recovered.tornBytes > 0 {
            configuration.logger.info(
                "the log ended in a write that was cut off; it was never acknowledged",
                ["bytes": "\(store.recovered.tornBytes)"])
        }
        for damage in store.recovered.damages {
            configuration.logger.warning(
                damage.isNeeded
                    ? "the log is damaged; the group has no vote here until a leader has given the entries back"
                    : "the log is damaged where it is needed no more", ["damage": "\(damage)"])
        }
        let level = FeatureLevel()
        let machines = NodeMachines(
            level: level, checkpoints: store.checkpoints,
            duties: LeaderDuties(
                executorTimeout: configuration.executorFailureTimeout, retention: configuration.retention,
                portion: configuration.limits.prunePortion))
        var parts = NodeCore.Parts(
            identity: identity, boot: store.boot, address: configuration.advertise ?? configuration.listen,
            loop: environment.loop, network: environment.network, store: store.store,
            logWorker: environment.logWorker, readWorker: environment.bulkWorker, snapshots: store.snapshotStore,
            settings: configuration.groups,
            registry: machines.registry, featureLevel: level,
            capabilities: workflows.map { "\($0.definition.name)/\($0.definition.version)" }, seed: random.next(),
            logger: configuration.logger)
        parts.observer = environment.observer
        let core = NodeCore(parts)
        self.core = core
        machines.attach(core)
        let address: String
        do {
            address = try await core.start(listen: configuration.listen)
        } catch let error as NetworkError {
            throw NodeError(.listenFailed, "cannot listen on \(configuration.listen): \(error.message)")
        }
        let recovered = try await enterCluster(core, &identity)
        do {
            try await core.host(recovered, snapshots: store.snapshots)
        } catch let error as ApplyError {
            throw NodeError(.dataUnusable, "a snapshot cannot be restored: \(error)")
        } catch let error as GroupError {
            throw NodeError(.dataUnusable, error.message)
        }
        core.addPeers(store.addressHints)
        core.setSeeds(configuration.join)
        let http = try await startHTTP(api)
        let clients = try await startClients(identity)
        configuration.logger.info(
            "the node has started",
            [
                "node": "\(identity.node.rawValue)", "cluster": String(identity.cluster, radix: 16),
                "address": address, "http": http?.address ?? "none", "boot": "\(store.boot)",
            ])
        return try NodeServices(
            configuration: configuration, environment: environment, core: core, identity: identity,
            store: store, address: address, machines: machines, workflows: workflows, http: http,
            clientService: clients)
    }

    private func startClients(_ identity: NodeIdentity) async throws -> ClientService? {
        guard let address = configuration.clients else { return nil }
        do {
            return try await ClientService.start(
                on: address, identity, loop: environment.loop, network: environment.network)
        } catch {
            throw NodeError(.listenFailed, "cannot listen on \(address): \(error.message)")
        }
    }

    /// Who this node is, by its data; a new identity where there is none.
    private mutating func identify() async throws -> NodeIdentity {
        if let known = store.recovered.identity {
            guard known.node == configuration.id else {
                throw NodeError(
                    .dataUnusable,
                    "\(configuration.dataDirectory ?? "") is the data of \(known.node), not of \(configuration.id): "
                        + "use the right directory or the right id")
            }
            return known
        }
        let identity = NodeIdentity(cluster: 0, node: configuration.id, instance: random.next() | 1)
        // Durable before anyone hears of it: a node that forgot its instance could not come back.
        try await store.persist(identity, environment)
        return identity
    }

    /// Founds or joins a cluster, unless the data belongs to one.
    /// - Returns: what the log holds now.
    private mutating func enterCluster(
        _ core: NodeCore, _ identity: inout NodeIdentity
    ) async throws -> RecoveredLog {
        var recovered = store.recovered
        guard identity.cluster == 0 else { return recovered }
        if configuration.founds {
            try await refuseWhereASeedBelongsElsewhere(core)
            identity.cluster = random.next() | 1
            recovered = try await store.found(identity, groups: Self.firstGroups, environment)
        } else {
            guard recovered.groups.isEmpty else {
                throw NodeError(
                    .dataUnusable,
                    "\(configuration.dataDirectory ?? "") was to found a cluster and was interrupted: "
                        + "found it again, or empty the directory to join another cluster")
            }
            identity.cluster = try await join(core)
            try await store.persist(identity, environment)
        }
        await core.setCluster(identity.cluster)
        return recovered
    }

    private func startHTTP(_ api: HTTPAPI) async throws -> HTTPServer? {
        guard let address = configuration.http else { return nil }
        guard let loop = environment.loop as? EventLoop else {
            throw NodeError(.invalidConfiguration, "HTTP is served on a libuv loop only; a simulated node has none")
        }
        do {
            return try await HTTPServer.start(on: address, loop: loop) { await api.respond(to: $0) }
        } catch {
            throw NodeError(.listenFailed, "cannot listen on \(address): \(error.message)")
        }
    }

    /// Ends what was started when the start failed.
    func abandon() async { await core?.stop() }

    // MARK: Founding

    /// What the first node of a fleet begins with.
    static let managementGroup = ReplicaIdentity(
        group: ManagementState.group, incarnation: 1, kind: .management, replica: ReplicaID(1))
    static let executionGroup = ReplicaIdentity(
        group: ExecutionCluster.commonGroup, incarnation: 1, kind: .workflow, replica: ReplicaID(1))
    private static let firstGroups = [managementGroup, executionGroup]

    private func refuseWhereASeedBelongsElsewhere(_ core: NodeCore) async throws {
        for seed in configuration.join {
            guard let cluster = await core.cluster(at: seed) else { continue }
            throw NodeError(
                .joinRefused,
                "\(seed) belongs to cluster \(String(cluster, radix: 16)) already: "
                    + "join it (--join \(seed), without --bootstrap) instead of founding another one")
        }
    }

    // MARK: Joining

    private func join(_ core: NodeCore) async throws -> UInt64 {
        guard !configuration.join.isEmpty else {
            throw NodeError(.joinRefused, "this node belongs to no cluster yet: name a node to join, or bootstrap one")
        }
        let deadline = environment.loop.now.advanced(by: Self.joinTimeLimit)
        var lastReason = ""
        while environment.loop.now < deadline {
            for seed in configuration.join {
                switch await core.join(at: seed, httpAddress: configuration.http ?? "") {
                case .member(let cluster): return cluster
                case .refused(let reason): throw NodeError(.joinRefused, reason)
                case .tryAgain(let reason):
                    if reason != lastReason {
                        configuration.logger.info("cannot join yet", ["seed": seed, "reason": reason])
                    }
                    lastReason = reason
                }
            }
            try await environment.loop.sleep(until: environment.loop.now.advanced(by: Self.joinRetryInterval))
        }
        let seeds = configuration.join.joined(separator: ", ")
        throw NodeError(.joinRefused, "none of \(seeds) took this node in within \(Self.joinTimeLimit): \(lastReason)")
    }
}

/// The state machines of a node's groups, and what the node hears from them.
final class NodeMachines: Sendable {
    let level: FeatureLevel
    /// The core holds these machines.
    private let core = WeakBox<NodeCore>()
    /// The management group's state as of the last change that was applied here.
    let management = Lock(ManagementState())
    /// Clusters hosted here that may owe something to others; see `ClusterSteward`.
    let stewardAttention = GroupAttention()
    /// Groups whose runs have something to tell others.
    let postAttention = GroupAttention()
    /// Clusters led here, of which management may not have heard everything.
    let reportAttention = GroupAttention()
    let duties: LeaderDuties
    /// Where this node leads the management group: what others report.
    let reportCollector = ReportCollector()
    /// Clusters that have changed, or come here or gone, for whoever keeps this node's groups as they should be.
    let hostingAttention = GroupAttention()
    private let followed = Lock(FollowedClusters())

    /// Groups led here that are to add a member.
    let wishes = WishQuestions()

    /// Rings when groups are to confirm that a node has left them.
    let departures = Signal()

    let checkpoints: CheckpointJournal

    init(level: FeatureLevel, checkpoints: CheckpointJournal, duties: LeaderDuties) {
        self.level = level
        self.duties = duties
        self.checkpoints = checkpoints
    }

    func attach(_ core: NodeCore) {
        self.core.set(core)
        core.setWishHandler { [wishes] in wishes.add($0, $1) }
    }

    var registry: StateMachineRegistry {
        var registry = StateMachineRegistry()
        registry.register(.management) { [self] _ in
            ManagementStateMachine(agreedLevel: level) { [self] in managementDidChange($0, $1) }
        }
        let attention: @Sendable (GroupID) -> Void = { [reportAttention, duties] group in
            reportAttention.mark(group)
            duties.note(group)
        }
        let types = WorkflowTypeSets()
        registry.register(.workflow) { [checkpoints, stewardAttention, postAttention] group in
            WorkflowStateMachine(
                group: group, checkpoints: checkpoints, types: types, attention: attention,
                deliveries: stewardAttention.mark, posts: postAttention.mark)
        }
        return registry
    }

    /// The group that the slot map names for a workflow id. To be asked once it is known that there are any.
    func home(of id: String) -> GroupID {
        management.withLock { $0.slots.home(of: RunKey(defaultNamespace, id))?.home ?? ExecutionCluster.commonGroup }
    }

    /// The group that an id of the fleet's own names, unless that is no more.
    func namedGroup(of id: String) -> GroupID? {
        GeneratedID(id).map(\.group).flatMap { hasEnded($0) ? nil : $0 }
    }

    /// Whether a group's cluster was destroyed.
    func hasEnded(_ group: GroupID) -> Bool {
        management.withLock { $0.hasIssued(group) && $0.clustersByGroup[group] == nil }
    }

    /// The highest version that enough nodes of the fleet have to form a cluster that runs it, as while nodes are upgraded
    /// one after the other; where there is none, the highest that any node has.
    func newestVersion(of type: String) -> UInt32? {
        let name = ByteText(type)
        return management.withLock { view in
            let nodes = view.nodes.values
                .flatMap { Set($0.types.filter { ByteText($0.name) == name }.map(\.version)) }
                .reduce(into: [UInt32: Int]()) { $0[$1, default: 0] += 1 }
            let least = min(view.policy.clusterSizes.lowerBound, view.nodes.count)
            return nodes.filter { $0.value >= least }.keys.max() ?? nodes.keys.max()
        }
    }

    /// - Parameter version: nil for any.
    func nodes(having type: String, version: UInt32?) -> Set<NodeID> {
        let name = ByteText(type)
        return management.withLock { view in
            let having = view.nodes.values.filter { node in
                node.types.contains { ByteText($0.name) == name && (version ?? $0.version) == $0.version }
            }
            return Set(having.map(\.node))
        }
    }

    /// Waits until this node has heard where workflows run.
    /// - Throws: `WorkflowError` with `unavailable` when `patience` is over.
    func untilHeard(on loop: any Loop, patience: Duration) async throws {
        let deadline = loop.now.advanced(by: patience)
        while !management.withLock({ $0.slots.hasHomes }) {
            guard loop.now < deadline else {
                throw WorkflowError(
                    .unavailable, "this node has not heard yet where workflows run; ask another one, or again")
            }
            try await loop.sleep(for: .milliseconds(50))
        }
    }

    /// How operators call a group's cluster.
    func name(of group: GroupID) -> String {
        management.withLock { $0.clustersByGroup[group]?.text } ?? "\(group)"
    }

    /// Who may answer for a group, in a random order.
    func members(of group: GroupID, draw: () -> UInt64) -> [NodeID] {
        let nodes = management.withLock { view -> [NodeID] in
            (view.cluster(of: group)?.members.keys).map { $0.sorted() } ?? []
        }
        guard !nodes.isEmpty else { return [] }
        let first = Int(draw() % UInt64(nodes.count))
        return Array(nodes[first...] + nodes[..<first])
    }

    private func managementDidChange(_ view: ManagementState, _ change: ManagementChange) {
        let surrenders = management.withLock { known in
            defer { known = view }
            return known.surrenders
        }
        guard let core = core.value else { return }
        guard change.isStructural else { return runsDidChange(in: change.reported, view) }
        if change.hasNodes { core.setMembers(view.nodes.mapValues { ($0.instance, $0.address) }) }
        core.setDesired([ManagementState.group: view.desiredMembers])
        var groups = change.groups
        if change.isWhole { followed.withLock { $0.forget() } }
        // What was given up by force may have had what any of them waits for.
        if change.isWhole || surrenders != view.surrenders {
            groups.formUnion(view.clusters(on: core.node).map(\.group))
            groups.formUnion(core.hosted.all.filter { $0.identity.kind == .workflow }.map(\.identity.group))
        }
        follow(groups, view, core)
        // Whoever has something to give away may have somebody to give it to from now on.
        if !change.groups.isEmpty {
            for group in followed.withLock({ $0.ordered }) where core.hosted[group] != nil {
                stewardAttention.mark(group)
            }
        }
        // What it has is hearsay to nobody until it is to move.
        if view.mode == .migrating { reportAttention.mark(ExecutionCluster.commonGroup) }
        if !view.departing.isEmpty { departures.ring() }
    }

    /// Replicas of these groups have come to this node, or gone.
    func hostingDidChange(_ groups: [GroupID]) {
        guard let core = core.value else { return }
        let clusters = Set(groups).subtracting([ManagementState.group])
        // There, so that what follows from an older view does not come last.
        core.loop.execute { [self] in follow(clusters, management.withLock { $0 }, core) }
    }

    /// Brings what this node does for clusters up to date. On the loop.
    private func follow(_ groups: Set<GroupID>, _ view: ManagementState, _ core: NodeCore) {
        let (desired, members) = followed.withLock { followed in
            let desired = followed.look(at: groups, view, on: core.node) { core.hosted[$0] != nil }
            return (desired, followed.nodes)
        }
        core.setDesired(desired)
        core.setNeighbours(view.neighbours(of: core.node, besides: members))
        for group in groups {
            hostingAttention.mark(group)
            if core.hosted[group] != nil { stewardAttention.mark(group) }
        }
    }

    /// How often this node has looked at a cluster because something about it changed.
    var clusterLooks: UInt64 { followed.withLock { $0.looks } }

    /// What clusters report changes what is left of the orders that they have.
    private func runsDidChange(in clusters: Set<ClusterID>, _ view: ManagementState) {
        for cluster in clusters.sorted().compactMap({ view.clusters[$0] })
        where cluster.hasOrders && core.value?.hosted[cluster.group] != nil {
            stewardAttention.mark(cluster.group)
        }
        if view.mode == .migrating { reportAttention.mark(ExecutionCluster.commonGroup) }
    }
}
