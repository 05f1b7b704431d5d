import FlotillaIO
import FoundationEssentials

/// What a node answers to `GET /v1/status`, as far as it matters here.
struct StatusReport: Decodable, Sendable {
    struct Group: Decodable, Sendable {
        var group: UInt64
        var kind: String
        var role: String
        var appliedIndex: UInt64
        var voters: [UInt64]
        var stateHash: String?
    }
    var node: UInt64
    var ready: Bool
    var groups: [Group]
}

/// What a node answers about a workflow.
struct WorkflowReport: Decodable, Sendable {
    struct Step: Decodable, Sendable {
        var name: String
        var occurrence: UInt64
        /// Rises with every owner of the run.
        var epoch: UInt64
        var recordedAt: String
    }
    var id: String
    var status: String
    var owner: UInt64?
    var finishedAt: String?
    var steps: [Step]?
}

/// `GET /v1/workflows/{id}/result`
struct ResultReport<Output: Decodable>: Decodable {
    struct Failure: Decodable { var message: String }
    var status: String
    var output: Output?
    var failure: Failure?
}

/// `GET /v1/workflows`
struct WorkflowPage: Decodable, Sendable {
    var workflows: [WorkflowReport]
    /// Where the next page starts; nil at the end.
    var next: String?
}

/// `application/problem+json`
struct ProblemReport: Decodable, Sendable {
    var title: String
    var status: Int
    var detail: String
}

/// The HTTP interface of one node.
struct NodeAPI: Sendable {
    /// "host:port"
    let address: String

    struct Answer: Sendable {
        var status: Int
        var body: [UInt8]

        func decode<Value: Decodable>(_ type: Value.Type) throws(BenchError) -> Value {
            do {
                return try JSONDecoder().decode(type, from: Data(body))
            } catch {
                throw BenchError(
                    "an answer of a node cannot be read (\(error)): \(text.prefix(500))")
            }
        }
        var text: String { String(decoding: body, as: UTF8.self) }
        /// What a node said was wrong.
        var problem: String {
            guard let report = try? decode(ProblemReport.self) else {
                return "status \(status): \(text.prefix(200))"
            }
            return "\(report.title) (\(status)): \(report.detail)"
        }
    }

    func isReady() async -> Bool {
        (try? await get("/health/ready", limit: .seconds(2)))?.status == 200
    }

    func status(withHashes: Bool = false) async throws -> StatusReport {
        try expect(200, await get(withHashes ? "/v1/status?hash=1" : "/v1/status")).decode(
            StatusReport.self)
    }

    func describe(_ id: String) async throws -> WorkflowReport? {
        let answer = try await get("/v1/workflows/\(PercentEncoding.encode(id))")
        return answer.status == 404 ? nil : try expect(200, answer).decode(WorkflowReport.self)
    }

    /// - Returns: what the workflow returned; nil if it still runs after `wait`.
    /// - Throws: if it failed or is unknown.
    func result<Output: Decodable & Sendable>(
        of id: String, wait: Duration, as type: Output.Type
    ) async throws -> Output? {
        let path =
            "/v1/workflows/\(PercentEncoding.encode(id))/result?wait=\(wait.components.seconds)s"
        let answer = try await get(path, limit: wait + .seconds(5))
        if answer.status == 202 { return nil }
        let result = try expect(200, answer).decode(ResultReport<Output>.self)
        guard let output = result.output else {
            throw BenchError(
                "workflow \(id) is \(result.status): \(result.failure?.message ?? "no reason given")"
            )
        }
        return output
    }

    /// Every workflow of that status, page by page.
    func list(status: String) async throws -> [WorkflowReport] {
        var found: [WorkflowReport] = []
        var path = "/v1/workflows?status=\(status)&limit=500"
        while true {
            let page = try expect(200, await get(path)).decode(WorkflowPage.self)
            found += page.workflows
            guard let next = page.next else { return found }
            path = "/v1/workflows?status=\(status)&limit=500&after=\(PercentEncoding.encode(next))"
        }
    }

    /// - Parameter input: JSON.
    /// - Returns: 201 or 200 with the run; everything else is the caller's to judge.
    func start(type: String, id: String, input: String, limit: Duration = .seconds(10)) async throws
        -> Answer
    {
        let quoted = String(decoding: try JSONEncoder().encode(id), as: UTF8.self)
        let body = "{\"type\":\"\(type)\",\"id\":\(quoted),\"input\":\(input)}"
        return try await send("POST", "/v1/workflows", body: Array(body.utf8), limit: limit)
    }

    func get(_ path: String, limit: Duration = .seconds(10)) async throws -> Answer {
        try await send("GET", path, body: [], limit: limit)
    }

    /// - Parameter json: may be empty.
    func post(_ path: String, _ json: String, limit: Duration = .seconds(10)) async throws -> Answer {
        try await send("POST", path, body: Array(json.utf8), limit: limit)
    }

    private func send(_ method: String, _ path: String, body: [UInt8], limit: Duration) async throws
        -> Answer
    {
        let url = "http://\(address)\(path)"
        return try await BlockingPool.shared.run {
            let answer = try HTTPClient.send(
                method: method, url: url, body: body.isEmpty ? nil : body,
                headers: body.isEmpty ? [] : [("Content-Type", "application/json")], timeout: limit)
            return Answer(status: answer.status, body: answer.body)
        }
    }

    private func expect(_ status: Int, _ answer: Answer) throws(BenchError) -> Answer {
        guard answer.status == status else { throw BenchError("\(address): \(answer.problem)") }
        return answer
    }
}
