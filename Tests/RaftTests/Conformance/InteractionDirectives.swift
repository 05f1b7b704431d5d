@testable import FlotillaRaft

// What the directives do, but for those about messages and storage.

extension InteractionScenario {
    // MARK: Nodes

    mutating func addNodes(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Failure? {
        guard let first = directive.arguments.first else { throw directive.error("how many?") }
        let count = try directive.number(first.key)
        let founding = try foundingConfiguration(directive)
        let index = LogIndex(try directive.number(of: "index") ?? 0)
        let content = Array((try directive.value(of: "content") ?? "").utf8)
        let isFounding = !founding.members.isEmpty || index > .zero || !content.isEmpty
        if isFounding && index <= LogIndex(1) {
            return Failure(text: "index must be specified as > 1 due to bootstrap")
        }
        let isAsync = try directive.flag("async-storage-writes") ?? false
        for _ in 0..<count {
            var options = try self.options(directive)
            options.appliesOnlyDurable = isAsync
            let node = InteractionNode(
                ReplicaID(UInt64(nodes.count + 1)), options, isAsync: isAsync,
                snapshot: isFounding ? .init(index: index, term: Term(1), configuration: founding) : nil,
                content: content)
            nodes.append(node)
            printStart(node.raft)
        }
        return nil
    }

    private func options(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> RaftOptions {
        let known: Set = [
            "voters", "learners", "inflight", "index", "content", "async-storage-writes", "prevote", "checkquorum",
            "max-committed-size-per-ready", "disable-conf-change-validation", "read-only", "step-down-on-removal",
            "max-inflight-bytes", "max-size-per-msg", "max-uncommitted-size", "election-tick", "heartbeat-tick",
        ]
        for argument in directive.arguments.dropFirst() where !known.contains(argument.key) {
            throw directive.error("unknown option '\(argument.key)'")
        }
        var options = RaftOptions()
        func limit(_ key: String) throws(ScenarioError) -> Int {
            guard let number = try directive.number(of: key), number > 0 else { return Int(Int32.max) * 1024 }
            return Int(clamping: number)
        }
        options.electionTicks = Int(try directive.number(of: "election-tick") ?? 3)
        options.heartbeatTicks = Int(try directive.number(of: "heartbeat-tick") ?? 1)
        options.windowBytes = .max
        options.maxAppendBytes = try limit("max-size-per-msg")
        options.maxAppendsInFlight = try limit("inflight")
        options.maxInFlightBytes = try limit("max-inflight-bytes")
        options.maxUncommittedBytes = try limit("max-uncommitted-size")
        options.maxCommittedBytesPerEffects = try limit("max-committed-size-per-ready")
        options.usesPreVote = try directive.flag("prevote") ?? false
        options.checksQuorum = try directive.flag("checkquorum") ?? false
        options.validatesChanges = !(try directive.flag("disable-conf-change-validation") ?? false)
        options.removedLeader = try directive.flag("step-down-on-removal") ?? false ? .stepsDownAtOnce : .stays
        switch try directive.value(of: "read-only") {
        case nil, "safe": options.reads = .quorum
        case "lease-based": options.reads = .lease
        case .some(let other): throw directive.error("read-only is safe or lease-based, not '\(other)'")
        }
        options.quietAfterTicks = 0
        options.snapshotAnnouncementTicks = 0
        options.recordsEvents = true
        return options
    }

    private func foundingConfiguration(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Configuration {
        func replicas(_ key: String) throws(ScenarioError) -> [ReplicaID] {
            var ids: [ReplicaID] = []
            for value in directive.values(of: key) ?? [] { ids.append(ReplicaID(try directive.number(value))) }
            return ids.sorted()
        }
        let voters = try replicas("voters")
        let learners = try replicas("learners")
        let all = (voters + learners).sorted()
        return Configuration(
            members: all.map { .init(replica: $0, node: NodeID($0.rawValue)) }, voters: voters, outgoingVoters: [],
            learners: learners, nextLearners: [], leavesAutomatically: false,
            nextReplica: ReplicaID((all.last?.rawValue ?? 0) + 1))
    }

    private mutating func printStart(_ raft: borrowing Raft) {
        let me = raft.id.hex
        let peers = raft.configuration.voters.map { $0.hex }.joined(separator: ",")
        output.log(.init(.info, "\(me) switched to configuration \(raft.configuration.scenarioText)"))
        output.log(.init(.info, "\(me) became follower at term \(raft.term)"))
        output.log(
            .init(
                .info,
                "newRaft \(me) [peers: [\(peers)], term: \(raft.term), commit: \(raft.commitIndex), "
                    + "applied: \(raft.appliedIndex), lastindex: \(raft.lastIndex), lastterm: \(raft.log.lastTerm)]"))
    }

    // MARK: Time and elections

    mutating func campaign(_ position: Int) { withCore(position) { $0.campaign() } }

    mutating func tick(_ position: Int, _ count: KeyPath<RaftOptions, Int>) {
        let ticks = nodes[position].raft.options[keyPath: count]
        for _ in 0..<ticks { withCore(position) { $0.tick() } }
    }

    mutating func transferLeadership(_ directive: ScenarioFile.Directive) throws(ScenarioError) {
        guard let from = try directive.number(of: "from"), let to = try directive.number(of: "to"), to > 0 else {
            throw directive.error("it takes from= and to=")
        }
        withCore(try position(from, directive)) { $0.transferLeadership(to: ReplicaID(to)) }
    }

    // MARK: Proposals

    mutating func propose(_ position: Int, _ text: String) -> Failure? {
        switch withCore(position, { $0.propose([Array(text.utf8)]) }) {
        case .appended, .forwarded: nil
        case .refused: Self.proposalDropped
        }
    }

    mutating func proposeChange(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Failure? {
        let position = try node(directive)
        var change: ProposedChange
        switch NamedChange.parse(directive.input.flatMap { $0.split(separator: " ") }.map(String.init)) {
        case .success(let named): change = ProposedChange(isFirstVersion: false, transition: .auto, named: named)
        case .failure(let problem): return Failure(text: problem.text)
        }
        for argument in directive.arguments.dropFirst() where !["v1", "transition"].contains(argument.key) {
            return Failure(text: "unknown command \(argument.key)")
        }
        change.isFirstVersion = try directive.flag("v1") ?? false
        if let name = try directive.value(of: "transition") {
            guard let transition = ProposedChange.Transition(rawValue: name) else {
                return Failure(text: "unknown transition \(name)")
            }
            change.transition = transition
        }
        if change.isFirstVersion, change.named.words.count != 1 || change.transition != .auto {
            return Failure(text: "v1 conf change can only have one operation and no transition")
        }
        return propose(change, position)
    }

    private mutating func propose(_ change: ProposedChange, _ position: Int) -> Failure? {
        let outcome = nodes[position].raft.proposeChange(
            isLeave: change.named.words.isEmpty, encoded: change.payload
        ) { (changer: inout ConfigurationChanger) throws(ConfigurationChanger.Problem) in try change.apply(to: &changer)
        }
        printEvents(position, change: change)
        switch outcome {
        case .appended, .forwarded: return nil
        case .refused(.changePending), .refused(.invalidChange):
            // Its place in the log is taken by an empty command.
            return propose(position, "")
        case .refused: return Self.proposalDropped
        }
    }

    // MARK: What there is to see

    mutating func printStates() {
        for node in nodes {
            output.print(
                "\(node.id.rawValue): \(node.raft.role.scenarioText) "
                    + "\(node.raft.isVoter(node.id) ? "(Voter)" : "(Non-Voter)") Term:\(node.raft.term) "
                    + "Lead:\(node.raft.leader?.rawValue ?? 0)\n")
        }
    }

    mutating func printStatus(_ position: Int) {
        let node = nodes[position]
        if node.raft.role != .leader { return }
        for member in node.raft.progress { output.print("\(member.replica.rawValue): \(member.scenarioText)\n") }
    }
}
