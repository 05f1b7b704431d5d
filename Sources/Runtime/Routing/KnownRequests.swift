import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What this version answers when another node asks.
struct KnownRequests: Sendable {
    typealias RunHandler = @Sendable (_ body: [UInt8], WorkflowEngine) async throws -> ReplyEnvelope
    typealias NodeHandler = @Sendable (_ body: [UInt8], NodeServices) async throws -> ReplyEnvelope

    private(set) var runs: [String: RunHandler] = [:]
    private(set) var nodes: [String: NodeHandler] = [:]

    static let all: KnownRequests = {
        var known = KnownRequests()
        known.add(StartRunRequest.self)
        known.add(ReserveRun.self)
        known.add(DescribeRun.self)
        known.add(LocateRun.self)
        known.add(ReadCheckpoints.self)
        known.add(ReadHistory.self)
        known.add(AwaitRun.self)
        known.add(ControlRun.self)
        known.add(PruneRun.self)
        known.add(PruneFinishedRuns.self)
        known.add(ListRuns.self)
        known.add(CountRuns.self)
        known.add(ReportChildEnd.self)
        known.add(CloseChild.self)
        known.add(ForkRunRequest.self)
        known.add(ReadStream.self)
        known.add(ListVersions.self)
        known.add(SendSignal.self)
        known.add(SendUpdate.self)
        known.add(AskQuery.self)
        known.add(CompleteAwakeable.self)
        known.add(InspectGroups.self)
        known.add(InspectNode.self)
        known.add(ReportRuns.self)
        known.add(ProposeToGroup.self)
        known.add(AskGroup<SlotsQuestion>.self)
        known.add(AskGroup<RunQuestion>.self)
        return known
    }()

    private mutating func add<Request: RunRequest>(_: Request.Type) {
        let previous = runs.updateValue(
            { body, engine in
                let request = try JSONCoding.decode(Request.self, from: body)
                return try ReplyEnvelope(try await request.attempt(on: engine))
            }, forKey: Request.name)
        precondition(previous == nil, "two requests are called '\(Request.name)'")
    }

    private mutating func add<Request: NodeLevelRequest>(_: Request.Type) {
        let previous = nodes.updateValue(
            { body, services in
                let request = try JSONCoding.decode(Request.self, from: body)
                return .value(try JSONCoding.encode(try await request.perform(on: services)))
            }, forKey: Request.name)
        precondition(previous == nil, "two requests are called '\(Request.name)'")
    }
}

extension ReplyEnvelope {
    init(_ attempt: RunAttempt<some Codable & Sendable>) throws {
        switch attempt {
        case .value(let reply): self = .value(try JSONCoding.encode(reply))
        case .failed(let error): self = .failed(RemoteFailure(error))
        case .elsewhere(let group, let isMoving): self = .elsewhere(group, isMoving: isMoving)
        case .unknown(let reason): self = .unknown(reason)
        case .refused(let code, let reason): self = .refused(code, reason)
        case .notHere(let reason), .unknownOutcome(let reason): self = .notHere(reason)
        }
    }
}
