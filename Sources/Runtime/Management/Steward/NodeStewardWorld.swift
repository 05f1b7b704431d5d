import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// A steward's world on a running node: its own groups, and members of others that it asks.
struct NodeStewardWorld: QuestionWorld {
    let core: NodeCore
    let machines: NodeMachines
    let router: WorkflowRouter
    let random: @Sendable () -> UInt64
    let logger: FlotillaLogger

    private static let pauseMin: Duration = .milliseconds(50)
    /// What is stuck is tried again at least so often.
    private static let pauseMax: Duration = .seconds(5)

    var view: ManagementState { machines.management.withLock { $0 } }

    func freshView() async throws -> ManagementState {
        try await core.hosted.group(ManagementState.group).barrier()
        return view
    }

    func leading<Result: Sendable>(
        _ group: GroupID, _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result? {
        guard let hosted = core.hosted[group] else { return nil }
        let found = try await hosted.asLeader { machine, _ in (machine as? WorkflowStateMachine).map(body) }
        return found ?? nil
    }

    func propose(_ operations: [WorkflowOperation], to group: GroupID) async throws -> WorkflowAnswer {
        let encoded = operations.map(\.encoded)
        if let hosted = core.hosted[group] {
            return try WorkflowAnswer(try await hosted.propose(encoded, ownerEpoch: 0))
        }
        return try await askMembers(of: group, ProposeToGroup(encoded, to: group)).decoded()
    }

    func ask<Question: GroupQuestion>(_ question: Question, of group: GroupID) async throws -> Question.Reply {
        guard let cluster = view.cluster(of: group) else {
            throw WorkflowError(.unavailable, "\(group) is no cluster's, or not any more")
        }
        let request = AskGroup(group: group, incarnation: cluster.incarnation, question: question)
        guard core.hosted[group] == nil else { return try await request.perform(on: core) }
        return try await askMembers(of: group, request)
    }

    private func askMembers<Request: NodeLevelRequest>(
        of group: GroupID, _ request: Request
    ) async throws -> Request.Reply {
        var reason: any Error = WorkflowError(.unavailable, "\(group) has no member that this node knows")
        for node in machines.members(of: group, draw: random) {
            do {
                return try await router.perform(request, on: node)
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                reason = error
            }
        }
        throw reason
    }

    func pause(attempt: Int) async throws {
        let whole = min(Self.pauseMin * (1 << min(attempt - 1, 10)), Self.pauseMax)
        // So that two that wait for each other do not keep step.
        try await core.loop.sleep(for: whole * (0.5 + Double(random() % 512) / 1_024))
    }

    func log(_ message: String, group: GroupID, isError: Bool) {
        logger.log(isError ? .error : .debug, "steward: \(message)", ["group": "\(group)"])
    }
}

/// A command for a group that the asker has no replica of.
struct ProposeToGroup: NodeLevelRequest {
    static let name = "propose"
    var group: GroupID
    /// `flotilla.v1.node.Commands`: operations as they stand in a command's envelope.
    @Base64 var operations: [UInt8]

    struct Reply: Codable, Sendable {
        var code: UInt32
        @Base64 var body: [UInt8]

        func decoded() throws -> WorkflowAnswer { try WorkflowAnswer(Answer(code: code, body: body)) }
    }

    init(_ operations: [Operation], to group: GroupID) {
        self.group = group
        var writer = ProtobufWriter()
        for operation in operations {
            writer.message(1) { writer in
                writer.varint(1, UInt64(operation.type))
                writer.varint(2, UInt64(operation.version))
                writer.bytes(3, operation.body)
            }
        }
        self.operations = writer.bytes
    }

    func perform(on services: NodeServices) async throws -> Reply {
        guard let hosted = services.core.hosted[group], hosted.identity.kind == .workflow else {
            throw WorkflowError(.unavailable, "\(services.core.node) has no replica of \(group)")
        }
        let answer = try await hosted.propose(try decodedOperations(), ownerEpoch: 0)
        return Reply(code: answer.code, body: answer.body)
    }

    private func decodedOperations() throws -> [Operation] {
        var decoded: [Operation] = []
        var reader = ProtobufReader(operations)
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "operations") }
            var inner = try reader.message()
            var operation = Operation(type: 0, version: 0, body: [])
            while let field = try inner.next() {
                switch field {
                case 1: operation.type = try inner.uint32()
                case 2: operation.version = try inner.uint32()
                case 3: operation.body = try inner.bytes()
                default: throw inner.unknownField(in: "an operation")
                }
            }
            // Nothing gets into a log that this node could not apply.
            _ = try WorkflowOperation(operation)
            decoded.append(operation)
        }
        return decoded
    }
}
