@testable import FlotillaRaft

/// Several replicas in one process, whose messages wait in one queue until a directive delivers them.
///
/// It drives the core as a shell would, and writes down what the core hands out. It adds three customs of the scenarios
/// to that: a membership change that the leader refuses becomes an empty command, so that its proposer's index is taken;
/// an answer from somebody who is no member is turned away before it reaches the core; and requests for votes leave
/// before the write that they wait for elsewhere, which makes no difference where nobody crashes.
struct InteractionScenario: Scenario {
    var nodes: [InteractionNode] = []
    var messages: [InteractionMessage] = []
    var output = ScenarioOutput()

    /// What a directive ends with instead of an output: the scenario goes on.
    struct Failure: Error { var text: String }

    static let proposalDropped = Failure(text: "raft proposal dropped")

    mutating func run(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> String {
        output.reset()
        let level = output.level
        let failure = try perform(directive)
        // `stabilize` takes a level for itself.
        if directive.command == "stabilize" { output.setLevel(level) }
        if let failure, output.isQuiet { return failure.text }
        return output.text + (failure?.text ?? "")
    }

    private mutating func perform(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Failure? {
        switch directive.command {
        case "_breakpoint": break
        case "add-nodes": return try addNodes(directive)
        case "campaign": campaign(try node(directive))
        case "compact": return try compact(directive)
        case "deliver-msgs": try deliver(directive)
        case "forget-leader": withCore(try node(directive)) { $0.forgetLeader() }
        case "log-level":
            if let failure = try setLogLevel(directive.arguments.first?.key, directive) { return failure }
        case "process-append-thread": try forEach(directive, "processing append thread") { $0.processAppendThread($1) }
        case "process-apply-thread": try forEach(directive, "processing apply thread") { $0.processApplyThread($1) }
        case "process-ready": try forEach(directive, "handling Ready") { $0.processReady($1) }
        case "propose": return propose(try node(directive), try text(directive))
        case "propose-conf-change": return try proposeChange(directive)
        case "raft-log": output.print(nodes[try node(directive)].diskText)
        case "raft-state": printStates()
        case "report-unreachable":
            let pair = try pair(directive)
            withCore(pair.0) { $0.reportUnreachable(ReplicaID(UInt64(pair.1 + 1))) }
        case "send-snapshot": try sendSnapshot(directive)
        case "set-randomized-election-timeout":
            guard let timeout = try directive.number(of: "timeout"), timeout > 0 else {
                throw directive.error("timeout= is missing")
            }
            nodes[try node(directive)].raft.randomizedElectionTicks = Int(timeout)
        case "stabilize":
            if let level = try directive.value(of: "log-level"), let failure = try setLogLevel(level, directive) {
                return failure
            }
            stabilize(try nodeList(directive, allByDefault: true))
        case "status": printStatus(try node(directive))
        case "tick-election": tick(try node(directive), \.electionTicks)
        case "tick-heartbeat": tick(try node(directive), \.heartbeatTicks)
        case "transfer-leadership": try transferLeadership(directive)
        default: return Failure(text: "unknown command")
        }
        return nil
    }

    private mutating func setLogLevel(
        _ name: String?, _ directive: ScenarioFile.Directive
    ) throws(ScenarioError) -> Failure? {
        guard let name else { throw directive.error("which level?") }
        if output.setLevel(name) { return nil }
        let names = LogLine.Level.allCases.map(\.name).joined(separator: " ")
        return Failure(text: "log levels must be either of [\(names)]")
    }

    private func text(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> String {
        guard directive.arguments.count == 2 else { throw directive.error("it takes a node and a text") }
        return directive.arguments[1].key
    }

    // MARK: Which nodes

    /// The position of the node that the first argument names.
    func node(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Int {
        guard let first = directive.arguments.first, first.values.isEmpty else {
            throw directive.error("its first argument is a node")
        }
        return try position(try directive.number(first.key), directive)
    }

    func position(_ id: UInt64, _ directive: ScenarioFile.Directive) throws(ScenarioError) -> Int {
        guard id >= 1, id <= nodes.count else { throw directive.error("there is no node \(id)") }
        return Int(id) - 1
    }

    func pair(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> (Int, Int) {
        let ids = try directive.bareNumbers()
        guard ids.count == 2 else { throw directive.error("it takes two nodes") }
        // The second may be a member whose node was never added.
        return (try position(ids[0], directive), Int(ids[1]) - 1)
    }

    func nodeList(_ directive: ScenarioFile.Directive, allByDefault: Bool) throws(ScenarioError) -> [Int] {
        var positions: [Int] = []
        for id in try directive.bareNumbers() { positions.append(try position(id, directive)) }
        return positions.isEmpty && allByDefault ? Array(nodes.indices) : positions
    }

    private mutating func forEach(
        _ directive: ScenarioFile.Directive, _ what: String, _ body: (inout Self, Int) -> Void
    ) throws(ScenarioError) {
        let positions = try nodeList(directive, allByDefault: false)
        for position in positions {
            if positions.count > 1 {
                output.print("> \(position + 1) \(what)\n")
                output.increaseIndent()
                body(&self, position)
                output.decreaseIndent()
            } else {
                body(&self, position)
            }
        }
    }

    // MARK: What the core decided

    /// Calls the core of a node and prints what it decided.
    mutating func withCore<Result>(_ position: Int, _ body: (inout Raft) -> Result) -> Result {
        let result = body(&nodes[position].raft)
        printEvents(position)
        return result
    }

    /// - Parameter change: the change that was proposed, if one was.
    /// - Returns: whether it was refused for what it is.
    @discardableResult
    mutating func printEvents(_ position: Int, change: ProposedChange? = nil) -> Bool {
        var isRefusedChange = false
        for event in nodes[position].raft.takeEvents() {
            for line in event.lines(of: nodes[position].id) { output.log(line) }
            for line in event.refusalLines(of: nodes[position].id, change: change) { output.log(line) }
            if case .changeRefused = event { isRefusedChange = true }
        }
        return isRefusedChange
    }
}
