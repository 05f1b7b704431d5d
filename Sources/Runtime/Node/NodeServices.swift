import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a started node runs: its place in the cluster, its workflows, its HTTP interface. All of it are children of
/// `run()`.
final class NodeServices: Sendable {
    let configuration: NodeConfiguration
    let environment: NodeEnvironment
    let core: NodeCore
    let identity: NodeIdentity
    let boot: UInt64
    /// How many writes were found damaged when the log was opened.
    let damagedWrites: Int
    /// What of the log was set aside because it is damaged.
    let damagedFiles: [String]
    /// Where peers connect.
    let address: String
    let machines: NodeMachines
    let workflows: [any RegisterableWorkflow]
    let clusters: ExecutionClusters
    let router: WorkflowRouter
    let gate: AdmissionGate
    private let server: RequestServer
    /// The HTTP interface, where there is one.
    private let http: HTTPServer?
    /// The interface of binary clients, where there is one.
    private let clientService: ClientService?
    let logger: FlotillaLogger

    private let joinQuestions: AsyncStream<NodeCore.JoinQuestion>
    private let joinInbox: AsyncStream<NodeCore.JoinQuestion>.Continuation

    /// Join requests that may wait; the oldest are dropped, and their nodes ask again.
    static let joinInboxLimit = 64
    /// A member that was silent for this long makes room for its namesake without data.
    static let replacementSilence: Duration = .seconds(5)

    init(
        configuration: NodeConfiguration, environment: NodeEnvironment, core: NodeCore, identity: NodeIdentity,
        store: NodeStore, address: String, machines: NodeMachines, workflows: [any RegisterableWorkflow],
        http: HTTPServer?, clientService: ClientService?
    ) throws {
        self.http = http
        self.clientService = clientService
        self.configuration = configuration
        self.environment = environment
        self.core = core
        self.identity = identity
        boot = store.boot
        damagedWrites = store.recovered.damages.count
        damagedFiles = store.recovered.keptFiles
        self.address = address
        self.machines = machines
        self.workflows = workflows
        logger = configuration.logger
        gate = AdmissionGate(
            configuration.admission, now: { [loop = environment.loop] in loop.now }, memory: environment.memory)
        clusters = try ExecutionClusters(
            core, workflows: workflows, checkpoints: machines.checkpoints, boot: store.boot,
            limits: configuration.limits, codec: configuration.payloads, gate: gate, spans: configuration.spans,
            logger: configuration.logger, random: environment.random,
            newestVersion: { [machines] type in
                // Every node is in the one cluster, which also knows who is alive.
                machines.management.withLock { $0.mode } == .single ? nil : machines.newestVersion(of: type)
            },
            didChange: machines.hostingDidChange)
        router = WorkflowRouter(
            core: core, clusters: clusters, machines: machines,
            placements: PlacementView(core: core, machines: machines), random: environment.random)
        server = RequestServer(logger: configuration.logger)
        (joinQuestions, joinInbox) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Self.joinInboxLimit))
        clusters.objects.set { [weak self] object, version, key, call, callID in
            try await self?.router.call(object, version: version, key, call, callID: callID, timeout: nil)
        }
    }

    /// Until the task is cancelled.
    func run() async {
        let joinInbox = joinInbox
        await core.setJoinHandler { _ = joinInbox.yield($0) }
        core.setMembersHandler { [duties = machines.duties] in duties.note($0) }
        await core.setTickHandler { [weak self] in
            guard let self else { return }
            machines.duties.tick(core, members: Set(machines.management.withLock { $0.nodes }.keys))
            machines.checkpoints.retry(now: core.loop.now)
        }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.register() }
            group.addTask { await self.answerJoinRequests() }
            group.addTask { await self.clusters.run() }
            group.addTask {
                await ClusterReconciler(
                    core: self.core, machines: self.machines, router: self.router,
                    attention: self.machines.hostingAttention, logger: self.logger
                ).run()
            }
            group.addTask { await self.server.run(self) }
            group.addTask { await self.keepVoters() }
            group.addTask { await Rebalancer(self).run() }
            group.addTask {
                await DepartureKeeper(core: self.core, machines: self.machines, logger: self.logger).run()
            }
            group.addTask {
                await WishKeeper(core: self.core, questions: self.machines.wishes, logger: self.logger).run()
            }
            group.addTask {
                await WorkflowReporter(
                    core: self.core, machines: self.machines, router: self.router, logger: self.logger
                ).run()
            }
            group.addTask {
                let world = NodeStewardWorld(
                    core: self.core, machines: self.machines, router: self.router, random: self.environment.random,
                    logger: self.logger)
                await ClusterSteward(world, attention: self.machines.stewardAttention).run()
            }
            group.addTask {
                let world = NodeStewardWorld(
                    core: self.core, machines: self.machines, router: self.router, random: self.environment.random,
                    logger: self.logger)
                await PostCourier(world, attention: self.machines.postAttention).run()
            }
            group.addTask { await self.machines.reportCollector.run(self.core, logger: self.logger) }
            if let http { group.addTask { await http.run() } }
            if let clientService { group.addTask { await clientService.run(self.router) } }
        }
    }

    /// Hands over and ends. Works while the task is cancelled.
    func stop() async {
        joinInbox.finish()
        clusters.close(NodeError(.stopped, "the node shuts down"))
        let deadline = core.loop.now.advanced(by: configuration.handoverTimeLimit)
        await handOverRuns(until: deadline)
        await core.handOver(until: deadline)
        await core.stop()
    }

    /// Where the HTTP interface listens, with the port that was chosen.
    var httpAddress: String? { http?.address }

    /// Where clients connect, with the port that was chosen.
    var clientAddress: String? { clientService?.address }

    var managementGroup: RaftGroup {
        get async throws { try await core.hosted.group(NodeStart.managementGroup.group) }
    }

    // MARK: Children

    /// Tells the management group where this node is, unless it knows.
    private func register() async {
        var me = ManagementStateMachine.Node(
            node: identity.node, instance: identity.instance, address: address,
            httpAddress: httpAddress ?? "", featureLevel: FeatureLevel.newest, joinedAt: 0,
            labels: configuration.nodeLabels)
        me.types = workflows.map(\.definition.type).sorted()
        me.wantedRole = configuration.managementRole
        await retrying("register this node") { [me] in
            let group = try await self.managementGroup
            try await group.barrier()
            let view = self.machines.management.withLock { $0 }
            let policy = self.configuration.executionClusterPolicy
            if let policy, !view.nodes.isEmpty, policy != view.policy {
                self.logger.warning(
                    "the fleet has another policy than this node's configuration; the fleet's counts",
                    ["remedy": "flotilla policy set"])
            }
            if var known = view.nodes[me.node] {
                known.joinedAt = 0
                (known.role, known.isDraining) = (me.role, me.isDraining)
                if known == me, view.slots.hasHomes { return }
            }
            var operations: [ManagementOperation] = [.registerNode(me), .createCommonCluster]
            // Nobody but the founder comes first.
            if let policy, view.nodes.isEmpty { operations.append(.setPolicy(policy)) }
            let answer = try await group.propose(operations.map(\.encoded), ownerEpoch: 0)
            switch ManagementStateMachine.Refusal(rawValue: answer.code) {
            case nil: break
            case .nodeDeparting: throw NodeError(.joinRefused, String(decoding: answer.body, as: UTF8.self))
            case let refusal?:
                self.logger.error("the cluster refuses this node", ["reason": "\(refusal)"])
            }
        }
    }

    private func answerJoinRequests() async {
        await withDiscardingTaskGroup { group in
            for await question in joinQuestions {
                _ = group.addTaskUnlessCancelled { await self.answer(question) }
            }
        }
    }

    private func answer(_ question: NodeCore.JoinQuestion) async {
        let node = ManagementStateMachine.Node(
            node: question.node, instance: question.instance, address: question.address,
            httpAddress: question.httpAddress, featureLevel: question.featureLevel, joinedAt: 0)
        // The first to be registered must be the founder: a cluster that knows only the other would move there.
        guard machines.management.withLock({ $0.nodes[identity.node] != nil }) else {
            return question.replyNotReady("\(identity.node) has no place in its cluster itself yet; try again")
        }
        do {
            if let reason = try await reasonToWait(question) { return question.replyNotReady(reason) }
            let group = try await managementGroup
            let answer = try await group.propose([ManagementOperation.registerNode(node).encoded], ownerEpoch: 0)
            if ManagementStateMachine.Refusal(rawValue: answer.code) == .nodeDeparting {
                return question.replyNotReady(String(decoding: answer.body, as: UTF8.self))
            }
            question.reply(cluster: identity.cluster, refusal: Self.reason(answer, question))
        } catch {
            question.replyNotReady("\(error)")
        }
    }

    /// A node that comes back with empty data makes room for itself. It is registered once every group has removed the
    /// replica that it was: the management state sees to that.
    private func reasonToWait(_ question: NodeCore.JoinQuestion) async throws -> String? {
        try await managementGroup.barrier()
        guard let known = machines.management.withLock({ $0.nodes[question.node] }),
            known.instance != question.instance
        else { return nil }
        return try await replace(known)
    }

    /// Removes a member whose place another instance wants, if it has been silent: then it is the same machine, which
    /// has lost its data. One that is heard of is a machine of its own.
    /// - Returns: what the other is told.
    private func replace(_ known: ManagementStateMachine.Node) async throws -> String {
        let core = core
        let silence = await core.onLoop { core.silence(of: known.node) }
        guard let silence, silence >= Self.replacementSilence else {
            return "\(known.node) is a member with another data directory, and was heard of less than "
                + "\(Self.replacementSilence) ago; remove it (flotilla node remove \(known.node.rawValue)), "
                + "or choose another id"
        }
        logger.warning("\(known.node) has lost its data: it is removed, to join anew", ["address": known.address])
        _ = try await managementGroup.propose(
            [ManagementOperation.removeNode(known.node, instance: known.instance).encoded], ownerEpoch: 0)
        return "the replicas of the \(known.node) that lost its data are being removed; try again"
    }

    private static func reason(_ answer: Answer, _ question: NodeCore.JoinQuestion) -> String? {
        guard answer.code != 0 else { return nil }
        switch ManagementStateMachine.Refusal(rawValue: answer.code) {
        case .duplicateNode:
            return "\(question.node) is a member with another data directory; remove it first "
                + "(flotilla node remove \(question.node.rawValue)) or choose another id"
        case .featureLevelUnsupported:
            return "the cluster uses a feature level that this binary does not support "
                + "(\(question.featureLevel)): upgrade it"
        default: return "refused with code \(answer.code): \(String(decoding: answer.body, as: UTF8.self))"
        }
    }

    /// Tries until it succeeds, the group stops or the task is cancelled.
    private func retrying(_ what: String, _ body: @escaping @Sendable () async throws -> Void) async {
        while !Task.isCancelled {
            do {
                return try await body()
            } catch is CancellationError {
                return
            } catch let error as GroupError where error.code == .stopped {
                return
            } catch {
                logger.warning("could not \(what); trying again", ["error": "\(error)"])
            }
            do { try await core.loop.sleep(until: core.loop.now.advanced(by: .milliseconds(500))) } catch { return }
        }
    }

    // MARK: Executors

    /// Gives this node's runs to others at once, where there are others. On the loop, since the node's tasks are
    /// cancelled already.
    private func handOverRuns(until deadline: MonotonicTime) async {
        guard machines.management.withLock({ $0.nodes.count }) > 1 else { return }
        let me = core.node
        await core.pollGroups(until: deadline) { groups in
            // All of them are asked, also where one is not done.
            groups.filter { group in
                !group.assumeIsolatedProposing { machine in
                    guard let machine = machine as? WorkflowStateMachine,
                        let executor = machine.executors.first(where: { $0.node == me && $0.isAlive })
                    else { return nil }
                    return WorkflowOperations.loseExecutor(me, registration: executor.registration)
                }
            }
        }
    }
}
