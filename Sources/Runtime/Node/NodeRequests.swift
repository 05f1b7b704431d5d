public import FlotillaActors
import FlotillaIO
public import FlotillaRaft

// What may be asked of a node, from any task, while it runs. Every node answers for the whole cluster.

extension Node {
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
        // A node that is new waits for the groups that every node begins with.
        let first = [NodeStart.managementGroup, NodeStart.executionGroup].map(\.group)
        let known = Set(first + hosted.all.map(\.identity.group)).sorted()
        guard known.contains(GroupID(group)) else {
            throw NodeError(
                .unknownGroup, "there is no group \(group) on this node; the groups are \(known.map(\.rawValue))")
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
        default: throw NodeError(.invalidConfiguration, String(decoding: answer.body, as: UTF8.self))
        }
    }

    /// Where peers connect, and where the HTTP interface listens, with the ports that were chosen.
    public func addresses() async throws -> (peers: String, http: String?) {
        let services = try await running()
        return (services.address, services.httpAddress)
    }

    /// Where a `FlotillaClient` connects, with the port that was chosen; nil where none may.
    public func clientAddress() async throws -> String? { try await running().clientAddress }
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
        var executing: Set<GroupID> = []
        for group in core.hosted.all {
            do {
                if try await add(group, to: &status, withHashes: withHashes) { executing.insert(group.identity.group) }
            } catch  where core.hosted[group.identity.group] !== group {
                // It has left this node meanwhile.
            }
        }
        if let warning = await core.strangersCall() { status.warnings.append(warning) }
        if let warning = machines.checkpoints.warning { status.warnings.append(warning) }
        status.warnings += damagedFiles.map {
            "\($0) holds damaged entries; the log reads it no more: delete it when nobody wants to look at it"
        }
        if case .memory = configuration.data {
            status.warnings.append("this node keeps its data in memory: what it holds is lost when it ends")
        }
        let expected = Set(view.clusters(on: identity.node).map(\.group))
        let led = Set(status.groups.filter { $0.leader != nil }.map { GroupID($0.group) })
        status.ready =
            view.nodes[identity.node] != nil && view.slots.hasHomes && expected.isSubset(of: executing)
            && expected.union([NodeStart.managementGroup.group]).isSubset(of: led)
        return status
    }

    /// - Returns: whether this node can be given runs of the group.
    private func add(_ group: RaftGroup, to status: inout NodeStatus, withHashes: Bool) async throws -> Bool {
        let report = try await group.report()
        var line = NodeStatus.Group(report)
        if withHashes {
            // The index that the hash stands for, which may have moved on since the report.
            let (index, hash) = try await group.stateHash()
            line.appliedIndex = index.rawValue
            line.stateHash = String(hash, radix: 16)
        }
        let (counts, isExecutor) =
            group.identity.kind == .workflow ? try await workflows(of: group) : (NodeStatus.Workflows(), false)
        status.groups.append(line)
        status.warnings += report.warnings
        status.workflows.add(counts)
        return isExecutor
    }

    /// - Returns: what the group has, and whether this node can be given some of it.
    private func workflows(of group: RaftGroup) async throws -> (NodeStatus.Workflows, Bool) {
        let me = core.node
        let myBoot = boot
        return try await group.withState { machine in
            guard let machine = machine as? WorkflowStateMachine else { return (.init(), false) }
            let mine = machine.executors.first { $0.node == me && $0.isAlive }
            let counts = NodeStatus.Workflows(
                running: machine.count(of: .running), parked: machine.count(of: .parked),
                completed: machine.count(of: .completed), failed: machine.count(of: .failed),
                terminated: machine.count(of: .terminated), cancelled: machine.count(of: .cancelled),
                paused: machine.count(of: .paused), continued: machine.count(of: .continued),
                owned: mine?.ownedRuns ?? 0)
            return (counts, mine?.boot == myBoot)
        }
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
            NodeCounter(name: "heartbeats_sent", help: "Heartbeats to peers.", value: transport.heartbeatsOut),
            NodeCounter(
                name: "requests_sent", help: "Questions to other nodes, and answers to theirs.",
                value: transport.requestsOut),
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
        let load = gate.load
        counters += [
            NodeCounter(
                name: "requests_refused", help: "Starts and messages that were refused by the limits of admission.",
                value: load.refused)
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
