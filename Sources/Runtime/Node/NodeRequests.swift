public import FlotillaActors
import FlotillaIO
public import FlotillaRaft

// What may be asked of a node, from any task, while it runs. Every node answers for the whole cluster.

extension Node {
    // MARK: Workflows

    /// Starts a workflow, or finds the run that an earlier start with the same id and an equal input made. Returns once
    /// the start is durable on a majority.
    /// - Throws: `WorkflowError` with `conflict` where the id belongs to a run with another input, and others that say
    ///   what to do; `NodeError` when the node has stopped.
    public func start<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input
    ) async throws -> WorkflowRun<Output> {
        try await engine.start(workflow, id: id, input: input)
    }

    /// Waits for the end of a run, wherever and whenever it was started.
    /// - Parameter timeout: nil waits for ever.
    public func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration? = nil
    ) async throws -> Output {
        try await engine.result(of: id, as: type, timeout: timeout)
    }

    /// All that is recorded of a run.
    public func describe(_ id: String) async throws -> WorkflowDescription { try await engine.describe(id) }

    /// The values that a run has recorded under a key, in their order, page by page.
    /// - Parameter start: the number of the first; they are counted from 0.
    public func checkpoints(
        _ name: String, of id: String, from start: UInt64 = 0, limit: Int = 100
    ) async throws -> CheckpointPage {
        try await engine.checkpoints(name, of: id, from: start, limit: limit)
    }

    /// What a run has recorded, in the order of time, with its beginning and its end: page by page.
    /// - Parameters:
    ///   - after: what the page before named as `next`; nil begins with the first event.
    ///   - withValues: also what was recorded, and input and output.
    public func history(
        of id: String, after: String? = nil, limit: Int = 100, withValues: Bool = false
    ) async throws -> WorkflowHistory {
        try await engine.history(of: id, after: after, limit: limit, withValues: withValues)
    }

    /// All that a run has recorded, with the values, in memory: what `replay(history:against:)` of FlotillaSimulation
    /// takes.
    public func wholeHistory(of id: String) async throws -> WorkflowHistory { try await engine.wholeHistory(of: id) }

    /// Does something to a run: cancels, terminates, pauses, resumes it, or runs a failed one again. Returns once that is
    /// durable on a majority.
    /// - Parameter reason: kept with the run.
    /// - Returns: the run as it stands then.
    /// - Throws: `WorkflowError` with `notFound`, or `wrongState` where the run's status does not allow it.
    @discardableResult
    public func control(_ id: String, _ action: WorkflowAction, reason: String = "") async throws -> WorkflowInfo {
        try await engine.control(id, action, reason: reason)
    }

    /// Removes a run that has ended, with everything that it recorded. Its id can be used again.
    /// - Throws: `WorkflowError` with `notFound`, or `wrongState` for a run that has not ended.
    public func prune(_ id: String) async throws { try await engine.prune(id) }

    /// Removes the runs that ended and that `retention` does not keep, in portions, so that everything else goes on
    /// meanwhile. By itself the cluster does so by `NodeConfiguration.retention`.
    /// - Parameter limit: how many at most.
    /// - Returns: how many were removed, and whether there are more to remove.
    @discardableResult
    public func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int = .max
    ) async throws -> (count: Int, hasMore: Bool) {
        try await engine.pruneFinished(keeping: retention, limit: limit)
    }

    /// Runs in the order of their starts, page by page.
    /// - Parameter after: what the page before named as `next`; nil begins with the oldest.
    public func list(
        _ filter: WorkflowFilter = WorkflowFilter(), after: String? = nil, limit: Int = 100
    ) async throws -> WorkflowPage {
        try await engine.list(filter, after: after, limit: limit)
    }

    var engine: WorkflowEngine {
        get async throws { try await running().clusters.engine(of: NodeStart.executionGroup.group) }
    }

    // MARK: The cluster

    /// The cluster as this node sees it, without asking anybody.
    /// - Parameter withHashes: also a hash of each group's state, which costs a walk over all of it.
    public func status(withHashes: Bool = false) async throws -> NodeStatus {
        try await running().status(withHashes: withHashes)
    }

    /// Who leads a group, as this node knows it: now, and with every change. Ends when the node or the group stops. A
    /// slow reader misses older changes, and never the newest.
    /// - Parameter group: its number, as in `NodeStatus.Group`; the group that runs workflows by default.
    /// - Throws: `NodeError` when the node has stopped or has no such group; `CancellationError`.
    public func leaderChanges(of group: UInt64 = 2) async throws -> AsyncStream<LeaderChange> {
        let hosted = try await running().core.hosted
        // Every node gets a replica of both groups; a node that has just joined waits for them.
        let known = [NodeStart.managementGroup, NodeStart.executionGroup].map(\.group)
        guard known.contains(GroupID(group)) else {
            throw NodeError(.unknownGroup, "there is no group \(group); the groups are \(known.map(\.rawValue))")
        }
        do {
            return try await hosted.group(GroupID(group)).leaderChanges()
        } catch let error as GroupError {
            throw NodeError(.stopped, error.message)
        }
    }

    /// Returns when this node has its place in the cluster: both groups have a leader that this node knows, and
    /// workflows may be given to it.
    public func untilReady() async throws {
        let services = try await running()
        while try await !services.status(withHashes: false).ready {
            try await services.core.loop.sleep(for: .milliseconds(10))
        }
    }

    /// Removes a node from the cluster, for good: its replicas leave all groups. The machine may come back with empty
    /// data as a new member.
    /// - Throws: `NodeError` for the last node, or one that is unknown.
    public func removeNode(_ node: NodeID) async throws {
        let group = try await running().managementGroup
        let answer = try await group.propose(
            [ManagementOperation.removeNode(node, instance: nil).encoded], ownerEpoch: 0)
        switch ManagementStateMachine.Refusal(rawValue: answer.code) {
        case nil: return
        case .unknownNode: throw NodeError(.unknownNode, "\(node) is no member of this cluster")
        case .lastNode: throw NodeError(.unknownNode, "\(node) is the last node of this cluster; it cannot be removed")
        case .duplicateNode, .featureLevelUnsupported:
            preconditionFailure("the management group refused the removal of \(node) with code \(answer.code)")
        }
    }

    /// Where peers connect, and where the HTTP interface listens, with the ports that were chosen.
    public func addresses() async throws -> (peers: String, http: String?) {
        let services = try await running()
        return (services.address, services.httpAddress)
    }
}

extension NodeServices {
    func status(withHashes: Bool) async throws -> NodeStatus {
        let view = machines.management.withLock { $0 }
        var status = NodeStatus(
            node: identity.node.rawValue, cluster: String(identity.cluster, radix: 16), boot: boot,
            featureLevel: machines.level.agreed, ready: false,
            nodes: view.nodes.values.sorted { $0.node < $1.node }.map {
                NodeStatus.Member(id: $0.node.rawValue, address: $0.address, http: $0.httpAddress)
            }, groups: [])
        for group in core.hosted.all {
            let report = try await group.report()
            var line = NodeStatus.Group(report)
            if withHashes {
                // The index that the hash stands for, which may have moved on since the report.
                let (index, hash) = try await group.stateHash()
                line.appliedIndex = index.rawValue
                line.stateHash = String(hash, radix: 16)
            }
            status.groups.append(line)
            status.warnings += report.warnings
        }
        status.warnings += damagedFiles.map {
            "\($0) holds damaged entries; the log reads it no more: delete it when nobody wants to look at it"
        }
        if case .memory = configuration.data {
            status.warnings.append("this node keeps its data in memory: what it holds is lost when it ends")
        }
        var isExecutor = false
        if let group = core.hosted[NodeStart.executionGroup.group] {
            let me = core.node
            let myBoot = boot
            (status.workflows, isExecutor) = try await group.withState { machine in
                guard let machine = machine as? WorkflowStateMachine else { return (.init(), false) }
                let mine = machine.executors.first { $0.node == me && $0.isAlive }
                let counts = NodeStatus.Workflows(
                    running: machine.count(of: .running), parked: machine.count(of: .parked),
                    completed: machine.count(of: .completed), failed: machine.count(of: .failed),
                    terminated: machine.count(of: .terminated), cancelled: machine.count(of: .cancelled),
                    paused: machine.count(of: .paused),
                    owned: mine?.ownedRuns ?? 0)
                return (counts, mine?.boot == myBoot)
            }
        }
        status.ready =
            isExecutor && status.groups.count == NodeStart.groupCount
            && status.groups.allSatisfy { $0.leader != nil } && view.nodes[identity.node] != nil
        return status
    }
}

extension NodeStatus.Group {
    fileprivate init(_ report: GroupReport) {
        self.init(
            group: report.group.rawValue, kind: report.kind.description, replica: report.replica.rawValue,
            role: report.status.role.rawValue, term: report.status.term.rawValue, leader: report.leader?.rawValue,
            commitIndex: report.commitIndex.rawValue, appliedIndex: report.appliedIndex.rawValue,
            lastIndex: report.lastIndex.rawValue, quiet: report.isQuiet, voters: report.voters.map(\.rawValue),
            outgoingVoters: report.outgoingVoters.map(\.rawValue), learners: report.learners.map(\.rawValue))
    }
}

extension GroupReport {
    fileprivate var warnings: [String] {
        var warnings: [String] = []
        if let stopReason { warnings.append("\(group) has stopped on this node: \(stopReason.message)") }
        if let proposalRefusal {
            warnings.append("\(group) takes no commands on this node: \(proposalRefusal.message)")
        }
        if isRecovering { warnings.append("\(group) recovers from damage in its log: it has no vote here") }
        if voters.count == 2 { warnings.append("\(group) has two voters: it tolerates no failure") }
        return warnings
    }
}

// MARK: For the HTTP interface

extension NodeServices {
    func counters() async -> [NodeCounter] {
        let (scheduler, transport) = await core.counters()
        var counters = [
            NodeCounter(name: "scheduler_passes", help: "Passes over dirty groups.", value: scheduler.passes),
            NodeCounter(name: "messages_received", help: "Raft messages from peers.", value: scheduler.messagesIn),
            NodeCounter(name: "messages_sent", help: "Raft messages to peers.", value: scheduler.messagesOut),
            NodeCounter(
                name: "frames_dropped", help: "Frames that found a full write queue.", value: scheduler.framesDropped),
            NodeCounter(
                name: "unknown_group_messages", help: "Messages for a group that this node does not host.",
                value: scheduler.unknownGroups),
            NodeCounter(
                name: "unknown_group_answers", help: "Answers of peers that do not host a group.",
                value: scheduler.unknownGroupAnswers),
            NodeCounter(name: "log_writes", help: "Batches written and fsynced.", value: scheduler.logBatches),
            NodeCounter(name: "log_entries", help: "Entries written and fsynced.", value: scheduler.logEntries),
            NodeCounter(name: "frames_received", help: "Frames from peers.", value: transport.framesIn),
            NodeCounter(name: "frames_sent", help: "Frames to peers.", value: transport.framesOut),
            NodeCounter(name: "frame_bytes_received", help: "Bytes of frames from peers.", value: transport.bytesIn),
            NodeCounter(name: "frame_bytes_sent", help: "Bytes of frames to peers.", value: transport.bytesOut),
            NodeCounter(
                name: "frames_unreadable", help: "Frames whose content made no sense.",
                value: transport.framesUnreadable),
            NodeCounter(
                name: "connections_refused", help: "Connections that either side refused.",
                value: transport.connectionsRefused),
            NodeCounter(
                name: "log_damages", help: "Writes whose entries were found damaged when the log was opened.",
                value: UInt64(damagedWrites)),
        ]
        if let network = (environment.network as? TCPNetwork)?.metrics {
            counters += [
                NodeCounter(
                    name: "frames_too_long", help: "Frames above the size limit.", value: network.framesTooLong),
                NodeCounter(
                    name: "frames_damaged", help: "Frames with a wrong checksum.", value: network.framesDamaged),
                NodeCounter(
                    name: "frames_cut", help: "Connections that ended within a frame.", value: network.framesCut),
            ]
        }
        return counters
    }
}

extension Node: NodeOperations {
    func startWorkflow(
        type: String, version: UInt32?, id: String?, namespace: String, input: JSONValue
    ) async throws -> (info: WorkflowInfo, isNew: Bool) {
        try Self.checkNamespace(namespace)
        let engine = try await engine
        let id =
            id
            ?? RunID(
                milliseconds: engine.environment.loop.wallNow.nanoseconds / 1_000_000,
                random: (engine.environment.random(), engine.environment.random())
            ).description
        let started = try await engine.start(type: type, version: version, id: id, input: try JSONCoding.encode(input))
        return (try await engine.describe(id).info, !started.existed)
    }

    func describeWorkflow(_ id: String, namespace: String) async throws -> WorkflowDescription? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound { try await self.engine.describe(id) }
    }

    func listCheckpoints(
        _ key: String, of id: String, namespace: String, from start: UInt64, limit: Int
    ) async throws -> CheckpointPage? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound { try await self.checkpoints(key, of: id, from: start, limit: limit) }
    }

    func workflowHistory(
        of id: String, namespace: String, after: String?, limit: Int, withValues: Bool
    ) async throws -> WorkflowHistory? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound {
            try await self.history(of: id, after: after, limit: limit, withValues: withValues)
        }
    }

    func controlWorkflow(
        _ id: String, namespace: String, _ action: WorkflowAction, reason: String
    ) async throws -> WorkflowInfo {
        try Self.checkNamespace(namespace)
        return try await control(id, action, reason: reason)
    }

    func pruneWorkflow(_ id: String, namespace: String) async throws {
        try Self.checkNamespace(namespace)
        try await prune(id)
    }

    func pruneWorkflows(keeping retention: WorkflowRetention, limit: Int) async throws -> (count: Int, hasMore: Bool) {
        try await pruneFinished(keeping: retention, limit: limit)
    }

    func awaitWorkflow(_ id: String, namespace: String, wait: Duration) async throws -> WorkflowDescription? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound {
            let engine = try await self.engine
            _ = try await engine.outcome(of: id, timeout: wait)
            return try await engine.describe(id)
        }
    }

    func listWorkflows(
        namespace: String, _ filter: WorkflowFilter, after: String?, limit: Int
    ) async throws -> WorkflowPage {
        try Self.checkNamespace(namespace)
        return try await list(filter, after: after, limit: limit)
    }

    func counters() async throws -> [NodeCounter] { try await running().counters() }

    private func nilIfNotFound<Value>(_ body: () async throws -> Value) async throws -> Value? {
        do {
            return try await body()
        } catch let error as WorkflowError where error.code == .notFound {
            return nil
        }
    }

    private static func checkNamespace(_ namespace: String) throws {
        guard namespace == defaultNamespace else {
            throw NodeError(
                .invalidConfiguration, "namespace '\(namespace)': there is only '\(defaultNamespace)' so far")
        }
    }
}
