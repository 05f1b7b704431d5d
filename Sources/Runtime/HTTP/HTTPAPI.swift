import FlotillaIO
import FlotillaRaft

/// The HTTP/JSON interface of a node: which path does what, and how errors are told.
struct HTTPAPI: Sendable {
    /// How long `/result` waits if the request does not say.
    static let resultWaitDefault: Duration = .zero
    /// What is waited for at most; whoever asks for more is answered after it, and may ask again.
    static let resultWaitMax: Duration = .seconds(60)
    static let listLimitDefault = 100
    static let listLimitMax = 1_000
    /// How many workflows one request removes; whoever wants more gone asks again.
    static let pruneLimit = 10_000

    typealias Handler = @Sendable (HTTPRequest) async throws -> HTTPResponse

    let node: any NodeOperations

    /// Answers one request; never throws, whatever comes.
    func respond(to request: HTTPRequest) async -> HTTPResponse {
        do {
            let routes = try routes(for: request.segments)
            let method = request.method == "HEAD" ? "GET" : request.method
            guard let handler = routes.first(where: { $0.method == method })?.handler else {
                throw Problem.methodNotAllowed(request.method, allowed: routes.map(\.method))
            }
            return try await handler(request)
        } catch {
            return .problem(Problem(describing: error))
        }
    }

    private func routes(for path: [String]) throws(Problem) -> [(method: String, handler: Handler)] {
        switch path.count {
        case 2 where path == ["v1", "workflows"]: return [("GET", list), ("POST", start), ("DELETE", pruneFinished)]
        case 3 where path.starts(with: ["v1", "workflows"]):
            return [("GET", { try await describe(path[2], $0) }), ("DELETE", { try await prune(path[2], $0) })]
        case 4 where path.starts(with: ["v1", "workflows"]) && path[3] == "result":
            return [("GET", { try await result(of: path[2], $0) })]
        case 4 where path.starts(with: ["v1", "workflows"]) && path[3] == "history":
            return [("GET", { try await history(of: path[2], $0) })]
        case 4 where path.starts(with: ["v1", "workflows"]) && path[3] == "stream":
            return [("GET", { try await stream(of: path[2], $0) })]
        case 4 where path.starts(with: ["v1", "workflows"]) && path[3] == "fork":
            return [("POST", { try await fork(path[2], $0) })]
        case 4 where path.starts(with: ["v1", "workflows"]) && WorkflowAction(name: path[3]) != nil:
            return [("POST", { try await control(path[2], path[3], $0) })]
        case 5 where path.starts(with: ["v1", "workflows"]) && path[3] == "signals":
            return [("POST", { try await signal(path[2], path[4], $0) })]
        case 5 where path.starts(with: ["v1", "workflows"]) && path[3] == "updates":
            return [("POST", { try await update(path[2], path[4], $0) })]
        case 5 where path.starts(with: ["v1", "workflows"]) && path[3] == "queries":
            return [("POST", { try await query(path[2], path[4], $0) })]
        case 3 where path.starts(with: ["v1", "awakeables"]):
            return [("POST", { try await complete(path[2], $0) })]
        case 5 where path.starts(with: ["v1", "workflows"]) && path[3] == "checkpoints":
            return [("GET", { try await checkpoints(path[4], of: path[2], $0) })]
        case 2 where path == ["v1", "workflow-versions"]: return [("GET", versions)]
        case 2 where path == ["v1", "workflow-count"]: return [("GET", count)]
        case 2 where path == ["v1", "status"]: return [("GET", status)]
        case 1 where path == ["health"]: return [("GET", health)]
        case 2 where path == ["health", "live"]: return [("GET", live)]
        case 2 where path == ["health", "ready"]: return [("GET", ready)]
        case 1 where path == ["metrics"]: return [("GET", metrics)]
        default:
            if let routes = fleetRoutes(for: path) ?? scheduleRoutes(for: path) ?? objectRoutes(for: path) {
                return routes
            }
            throw .notFound(
                "there is nothing at /\(path.joined(separator: "/")); workflows are at /v1/workflows, schedules at "
                    + "/v1/schedules, the node's state at /v1/status, the fleet at /v1/nodes, /v1/clusters and "
                    + "/v1/policy")
        }
    }

    // MARK: Workflows

    private func start(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: ["type", "version", "id", "input", "attributes", "namespace"])
        guard let type = try body.string("type"), !type.isEmpty else {
            throw Problem.badRequest("type is missing: the name of a registered workflow")
        }
        let (info, isNew) = try await node.startWorkflow(
            type: type, version: try body.version("version"), id: try body.string("id"),
            namespace: try body.string("namespace") ?? Self.namespaceDefault,
            input: body.members["input"] ?? .null, attributes: try body.texts("attributes") ?? [:], trace: request.trace
        )
        return Self.started(info, isNew: isNew)
    }

    private static func started(_ info: WorkflowInfo, isNew: Bool) -> HTTPResponse {
        var response = HTTPResponse.json(WorkflowJSON.value(info), status: isNew ? 201 : 200)
        response.headers.append(
            (name: "Location", value: "/v1/workflows/" + PercentEncoding.encode(info.workflowID)))
        return response
    }

    private func fork(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: ["from", "id", "namespace"])
        guard let text = try body.string("from"), let step = StepText(text) else {
            throw Problem.badRequest("from is missing: the name of a step, or NAME#N for a later use of the name")
        }
        let (info, isNew) = try await node.forkWorkflow(
            id, namespace: try body.string("namespace") ?? Self.namespaceDefault, from: step.name,
            occurrence: step.occurrence, newID: try body.string("id"))
        return Self.started(info, isNew: isNew)
    }

    private func describe(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("namespace")
        let namespace = request.text("namespace") ?? Self.namespaceDefault
        guard let description = try await node.describeWorkflow(id, namespace: namespace) else {
            throw Self.unknown(id)
        }
        return .json(WorkflowJSON.value(description))
    }

    private func checkpoints(_ key: String, of id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("from", "limit", "namespace")
        let page = try await node.listCheckpoints(
            key, of: id, namespace: request.text("namespace") ?? Self.namespaceDefault,
            from: try request.number("from", in: 0...UInt64.max) ?? 0,
            limit: try request.number("limit", in: 1...Self.listLimitMax) ?? Self.listLimitDefault)
        guard let page else { throw Self.unknown(id) }
        return .json(WorkflowJSON.value(page))
    }

    private func history(of id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("after", "limit", "values", "namespace")
        let history = try await node.workflowHistory(
            of: id, namespace: request.text("namespace") ?? Self.namespaceDefault, after: request.text("after"),
            limit: try request.number("limit", in: 1...Self.listLimitMax) ?? Self.listLimitDefault,
            withValues: try request.flag("values"))
        guard let history else { throw Self.unknown(id) }
        return .json(HistoryJSON.value(history))
    }

    private func control(_ id: String, _ action: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let names: Set<String> = ["reason", "namespace"]
        let body = try request.optionalObject(allowing: names)
        guard let action = WorkflowAction(name: action) else { throw Problem.badRequest("\(action) is no action") }
        let info = try await node.controlWorkflow(
            id, namespace: try body.string("namespace") ?? Self.namespaceDefault, action,
            reason: try body.string("reason") ?? "")
        return .json(WorkflowJSON.value(info))
    }

    private func prune(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("namespace")
        try await node.pruneWorkflow(id, namespace: request.text("namespace") ?? Self.namespaceDefault)
        return HTTPResponse(status: 204)
    }

    private func pruneFinished(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("finished", "olderThan", "keep", "namespace")
        guard try request.flag("finished") else {
            throw Problem.badRequest("say finished=1: only workflows that have ended are removed")
        }
        let keep = try request.number("keep", in: 0...Int.max)
        // Whoever says nothing of what to keep keeps nothing.
        let age = try request.age("olderThan") ?? (keep == nil ? .zero : nil)
        let (count, hasMore) = try await node.pruneWorkflows(
            namespace: request.text("namespace") ?? Self.namespaceDefault,
            keeping: WorkflowRetention(age: age, count: keep), limit: Self.pruneLimit)
        return .json(.object(["pruned": .integer(Int64(count)), "hasMore": .bool(hasMore)]))
    }

    private func result(of id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("wait", "namespace")
        let wait = min(try request.duration("wait") ?? Self.resultWaitDefault, Self.resultWaitMax)
        let namespace = request.text("namespace") ?? Self.namespaceDefault
        guard let run = try await node.awaitWorkflow(id, namespace: namespace, wait: wait) else {
            throw Self.unknown(id)
        }
        return .json(WorkflowJSON.result(run), status: run.info.status.isFinished ? 200 : 202)
    }

    private func list(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery(Self.filterNames + ["limit", "after"])
        let filter = try request.filter()
        let page = try await node.listWorkflows(
            namespace: request.text("namespace") ?? Self.namespaceDefault, filter,
            after: request.text("after"),
            limit: try request.number("limit", in: 1...Self.listLimitMax) ?? Self.listLimitDefault)
        return .json(WorkflowJSON.value(page))
    }

    private func count(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery(Self.filterNames)
        let count = try await node.countWorkflows(
            namespace: request.text("namespace") ?? Self.namespaceDefault, try request.filter())
        return .json(WorkflowJSON.value(count))
    }

    /// The query parameters of what concerns some of all workflows.
    private static let filterNames = ["status", "type", "attribute", "startedFrom", "startedBefore", "namespace"]

    private func versions(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let known = try await node.workflowVersions()
        let versions = known.versions.map { version -> JSONValue in
            .object([
                "type": .string(version.type), "version": .integer(Int64(version.version)),
                "nodes": .array(version.nodes.map { WorkflowJSON.number($0.rawValue) }),
                "running": .integer(Int64(version.running)), "parked": .integer(Int64(version.parked)),
                "paused": .integer(Int64(version.paused)),
            ])
        }
        return .json(
            .object(["versions": .array(versions), "unavailable": .array(known.unavailable.map(JSONValue.string))]))
    }

    static let namespaceDefault = "default"

    static func unknown(_ id: String) -> Problem {
        .notFound("there is no workflow with the id \(id); GET /v1/workflows lists them")
    }

    // MARK: Nodes

    private func status(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("hash", "fleet")
        let status = try JSONValue(
            parsing: try JSONCoding.encode(try await node.status(withHashes: try request.flag("hash"))))
        guard try request.flag("fleet"), case .object(var members) = status else { return .json(status) }
        members["fleet"] = try FleetJSON.value(try await node.fleet())
        return .json(.object(members))
    }

    // MARK: Health

    private func health(_ request: HTTPRequest) async throws -> HTTPResponse {
        let status = try await node.status(withHashes: false)
        return .json(
            .object([
                "status": .string(status.ready ? "ready" : "starting"),
                "node": .integer(Int64(clamping: status.node)),
                "version": .string(status.version),
                "warnings": .array(status.warnings.map(JSONValue.string)),
            ]))
    }

    private func live(_ request: HTTPRequest) async throws -> HTTPResponse {
        .json(.object(["status": .string("live")]))
    }

    private func ready(_ request: HTTPRequest) async throws -> HTTPResponse {
        guard try await node.status(withHashes: false).ready else {
            throw Problem.unavailable(
                "node \(node.id.rawValue) has not caught up with its groups yet; try again soon")
        }
        return .json(.object(["status": .string("ready")]))
    }

    private func metrics(_ request: HTTPRequest) async throws -> HTTPResponse {
        let status = try await node.status(withHashes: false)
        return .text(
            Metrics.text(status, try await node.counters(), try await node.figures()),
            contentType: "text/plain; version=0.0.4; charset=utf-8")
    }
}
