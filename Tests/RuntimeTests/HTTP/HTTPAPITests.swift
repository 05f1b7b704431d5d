import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("HTTPAPI")
struct HTTPAPITests {
    /// - Parameter target: a path without escapes, and a query after "?".
    private func ask(
        _ node: FakeNode, _ method: String, _ target: String, body: String = ""
    ) async throws -> (status: Int, json: JSONValue, headers: [String: String]) {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair in
            let sides = pair.split(separator: "=", maxSplits: 1).map(String.init)
            return (name: sides[0], value: sides.count > 1 ? sides[1] : "")
        }
        let response = await HTTPAPI(node: node).respond(
            to: HTTPRequest(
                method: method, path: parts[0],
                segments: parts[0].split(separator: "/").map(String.init),
                query: query, body: Array(body.utf8)))
        let isJSON = response.headers.contains {
            $0.name == "Content-Type" && $0.value.contains("json")
        }
        return (
            response.status,
            isJSON
                ? try JSONValue(parsing: response.body)
                : .string(String(decoding: response.body, as: UTF8.self)),
            Dictionary(response.headers.map { ($0.name, $0.value) }) { first, _ in first }
        )
    }

    // MARK: Starting

    @Test(
        "a new start answers 201, and one that was made before 200",
        arguments: [(true, 201), (false, 200)])
    func start(isNew: Bool, status: Int) async throws {
        let node = FakeNode(.init(start: .success(isNew)))
        let body =
            #"{"type":"order_processing","version":2,"id":"order-17","input":{"a":[1,null]}}"#
        let answer = try await ask(node, "POST", "/v1/workflows", body: body)
        #expect(answer.status == status)
        #expect(answer.json["id"] == .string("order-17"))
        #expect(answer.headers["Location"] == "/v1/workflows/order-17")
        let call = try #require(node.calls.withLock { $0.starts.first })
        #expect(call.type == "order_processing")
        #expect(call.version == 2)
        #expect(call.id == "order-17")
        #expect(call.namespace == "default")
        #expect(call.input == .object(["a": .array([.integer(1), .null])]))
    }

    @Test("a start needs a type only")
    func startDefaults() async throws {
        let node = FakeNode()
        #expect(try await ask(node, "POST", "/v1/workflows", body: #"{"type":"t"}"#).status == 201)
        let call = try #require(node.calls.withLock { $0.starts.first })
        #expect(call.version == nil)
        #expect(call.id == nil)
        #expect(call.input == .null)
    }

    @Test(
        "a start that cannot be understood answers 400 and says why",
        arguments: [
            ("", "not JSON"), ("[]", "not a JSON object"), ("{}", "type is missing"),
            (#"{"type":3}"#, "type is not"),
            (#"{"type":"t","version":0}"#, "version is not"),
            (#"{"type":"t","version":1.5}"#, "version is not"),
            (#"{"type":"t","inputs":{}}"#, "unknown member inputs"),
        ])
    func badStart(body: String, words: String) async throws {
        let node = FakeNode()
        let answer = try await ask(node, "POST", "/v1/workflows", body: body)
        #expect(answer.status == 400)
        #expect(answer.headers["Content-Type"] == "application/problem+json")
        #expect(answer.json["detail"]?.text?.contains(words) == true, "\(answer.json)")
        #expect(node.calls.withLock { $0.starts.isEmpty })
    }

    // MARK: Errors

    @Test(
        "errors of the node become statuses that a client can act on",
        arguments: [
            (GroupError(.overloaded, "x"), 503), (GroupError(.timedOut, "x"), 503),
            (GroupError(.stopped, "x"), 503), (GroupError(.diskFull, "x"), 503),
            (GroupError(.unknownGroup, "x"), 503), (GroupError(.tooLarge, "x"), 413),
        ])
    func groupErrors(error: GroupError, status: Int) async throws {
        let node = FakeNode(.init(start: .failure(error)))
        let answer = try await ask(node, "POST", "/v1/workflows", body: #"{"type":"t"}"#)
        #expect(answer.status == status)
        #expect(answer.json["status"] == .integer(Int64(status)))
        #expect(answer.headers["Retry-After"] == (status == 503 ? "1" : nil))
    }

    @Test(
        "errors of the workflow engine become statuses that a client can act on",
        arguments: [
            (WorkflowError.Code.conflict, 409), (.notFound, 404), (.unknownWorkflow, 422),
            (.invalidName, 400), (.invalidPage, 400), (.wrongState, 409),
            (.inputTooLarge, 413), (.overloaded, 503), (.unavailable, 503), (.stopped, 503),
            (.diskFull, 503),
            (.unexpectedAnswer, 500), (.tooManyWorkflows, 429), (.unknownPayloadKey, 500),
        ])
    func workflowErrors(code: WorkflowError.Code, status: Int) async throws {
        let node = FakeNode(.init(start: .failure(WorkflowError(code, "because"))))
        let answer = try await ask(node, "POST", "/v1/workflows", body: #"{"type":"t"}"#)
        #expect(answer.status == status)
        #expect(answer.json["detail"]?.text?.contains("because") == true)
    }

    @Test("an error that nobody foresaw answers 500, not silence")
    func unforeseen() async throws {
        struct Odd: Error {}
        let node = FakeNode(.init(start: .failure(Odd())))
        #expect(try await ask(node, "POST", "/v1/workflows", body: #"{"type":"t"}"#).status == 500)
    }

    @Test(
        "a path that does not exist answers 404",
        arguments: ["/", "/v1", "/v1/workflow", "/v1/workflows/a/b", "/v2/status"])
    func unknownPath(path: String) async throws {
        #expect(try await ask(FakeNode(), "GET", path).status == 404)
    }

    @Test(
        "a method that a path does not take answers 405 and names those it takes",
        arguments: [
            ("PUT", "/v1/workflows", "GET, POST, DELETE"), ("POST", "/v1/workflows/a", "GET, DELETE"),
            ("POST", "/v1/status", "GET"),
            ("GET", "/v1/nodes/3", "DELETE"),
        ])
    func wrongMethod(method: String, path: String, allowed: String) async throws {
        let answer = try await ask(FakeNode(), method, path)
        #expect(answer.status == 405)
        #expect(answer.headers["Allow"] == allowed)
    }

    @Test("HEAD is answered as GET is")
    func head() async throws {
        #expect(try await ask(FakeNode(), "HEAD", "/health/live").status == 200)
    }

    // MARK: Asking

    @Test("a description has the steps with their values")
    func describe() async throws {
        let node = FakeNode(.init(run: FakeNode.run()))
        let answer = try await ask(node, "GET", "/v1/workflows/order-17")
        #expect(answer.status == 200)
        #expect(answer.json["status"] == .string("completed"))
        #expect(answer.json["owner"] == .integer(2))
        #expect(answer.json["startedAt"] == .string("1970-01-01T00:00:00.001000Z"))
        #expect(answer.json["finishedAt"] == .string("1970-01-01T00:00:00.003000Z"))
        #expect(answer.json["input"] == .object(["order": .string("a")]))
        let step = try #require(answer.json["steps"]?.elements.first)
        #expect(step["name"] == .string("charge"))
        #expect(step["occurrence"] == .integer(0))
        #expect(step["bytes"] == .integer(12))
        #expect(step["value"] == .object(["charge": .integer(5)]))
        #expect(step["recordedAt"] == .string("1970-01-01T00:00:00.002000Z"))
    }

    @Test("the values of a checkpoint come page by page, with the number to go on from")
    func checkpoints() async throws {
        let node = FakeNode(.init(run: FakeNode.run()))
        let answer = try await ask(node, "GET", "/v1/workflows/order-17/checkpoints/a?from=7&limit=2")
        #expect(answer.status == 200)
        #expect(answer.json["next"] == .integer(9))
        let page = try #require(answer.json["checkpoints"]?.elements)
        #expect(page.map { $0["number"] } == [.integer(7), .integer(8)])
        #expect(page.map { $0["value"] } == [.string("a 7"), .string("a 8")])
        #expect(try await ask(node, "GET", "/v1/workflows/order-17/checkpoints/a?limit=0").status == 400)
    }

    @Test(
        "an id that nobody started answers 404",
        arguments: [
            "/v1/workflows/x", "/v1/workflows/x/result", "/v1/workflows/x/checkpoints/a", "/v1/workflows/x/history",
        ])
    func unknownWorkflow(path: String) async throws {
        let answer = try await ask(FakeNode(), "GET", path)
        #expect(answer.status == 404)
        #expect(answer.json["detail"]?.text?.contains("x") == true)
    }

    @Test("a result is 200 when the run has ended and 202 while it has not")
    func results() async throws {
        let done = try await ask(
            FakeNode(.init(run: FakeNode.run())), "GET", "/v1/workflows/order-17/result")
        #expect(done.status == 200)
        #expect(done.json["output"] == .object(["total": .integer(5)]))
        let failed = try await ask(
            FakeNode(.init(run: FakeNode.run(status: .failed))), "GET",
            "/v1/workflows/order-17/result")
        #expect(failed.status == 200)
        #expect(failed.json["failure"]?["message"] == .string("no money"))
        let running = try await ask(
            FakeNode(.init(run: FakeNode.run(status: .running))), "GET",
            "/v1/workflows/order-17/result")
        #expect(running.status == 202)
        #expect(running.json["status"] == .string("running"))
    }

    @Test(
        "the wait is a duration, none by default, and cut where it is too long",
        arguments: [
            ("", Duration.zero), ("?wait=30s", .seconds(30)), ("?wait=500ms", .milliseconds(500)),
            ("?wait=2m", .seconds(60)),
        ])
    func waits(query: String, wait: Duration) async throws {
        let node = FakeNode(.init(run: FakeNode.run()))
        #expect(try await ask(node, "GET", "/v1/workflows/a/result" + query).status == 200)
        #expect(node.calls.withLock { $0.waits } == [wait])
    }

    @Test("a wait that is no duration answers 400", arguments: ["30", "s", "-1s", "1.5s", "soon"])
    func badWait(text: String) async throws {
        #expect(
            try await ask(FakeNode(), "GET", "/v1/workflows/a/result?wait=\(text)").status == 400)
    }

    @Test("a list passes its filters on and says where to go on")
    func list() async throws {
        let node = FakeNode()
        let answer = try await ask(
            node, "GET", "/v1/workflows?status=parked&type=t&limit=7&after=order-3")
        #expect(answer.status == 200)
        #expect(answer.json["workflows"]?.elements.count == 1)
        #expect(answer.json["next"] == .string("order-17"))
        let call = try #require(node.calls.withLock { $0.lists.first })
        #expect(call.filter == WorkflowFilter(status: .parked, type: "t"))
        #expect(call.after == "order-3")
        #expect(call.limit == 7)
    }

    @Test(
        "a filter that is misspelt or out of range answers 400 instead of listing everything",
        arguments: ["state=running", "status=runing", "limit=0", "limit=1001", "limit=ten"])
    func badFilter(query: String) async throws {
        let node = FakeNode()
        #expect(try await ask(node, "GET", "/v1/workflows?" + query).status == 400)
        #expect(node.calls.withLock { $0.lists.isEmpty })
    }

    @Test("a history names beginning, events and end, with values where they are asked for")
    func history() async throws {
        let node = FakeNode(.init(run: FakeNode.run()))
        let answer = try await ask(node, "GET", "/v1/workflows/order-17/history?limit=5&after=x")
        #expect(answer.status == 200)
        let workflow = try #require(answer.json["workflow"])
        #expect(workflow["startedAt"] == .string("1970-01-01T00:00:00.001000Z"))
        #expect(workflow["finishedAt"] == .string("1970-01-01T00:00:00.003000Z"))
        #expect(workflow["inputBytes"] == .integer(13) && workflow["outputBytes"] == .integer(11))
        #expect(workflow["input"] == nil)
        let events = try #require(answer.json["events"]?.elements)
        #expect(events.map { $0["kind"] } == [.string("step"), .string("sleep")])
        #expect(events[0]["name"] == .string("charge") && events[0]["occurrence"] == .integer(0))
        #expect(events[0]["owner"] == .integer(2) && events[0]["attempt"] == .integer(4))
        #expect(events[0]["durationNanoseconds"] == .integer(1_500_000) && events[0]["bytes"] == .integer(12))
        #expect(events[0]["value"] == nil)
        #expect(events[1]["deadline"] == .string("1970-01-01T00:00:00.009000Z") && events[1]["firedAt"] == nil)
        let page = try await ask(node, "GET", "/v1/workflows/order-17/history?limit=1&values=1")
        #expect(page.json["events"]?.elements.count == 1)
        #expect(page.json["events"]?.elements.first?["value"] == .object(["charge": .integer(5)]))
        #expect(page.json["workflow"]?["input"] == .object(["order": .string("a")]))
        #expect(page.json["next"] == .string("2000000.0.0.charge"))
        let calls = node.calls.withLock { $0.histories }
        #expect(calls.map(\.after) == ["x", nil] && calls.map(\.limit) == [5, 1])
        for query in ["limit=0", "value=1", "values=some", "after=nonsense"] {
            #expect(try await ask(node, "GET", "/v1/workflows/a/history?" + query).status == 400, "\(query)")
        }
    }

    @Test("what can be done to a run has a path each, and a reason that may be left out")
    func control() async throws {
        let node = FakeNode()
        for action in WorkflowAction.allCases {
            let answer = try await ask(node, "POST", "/v1/workflows/a/\(action)", body: #"{"reason":"why"}"#)
            #expect(answer.status == 200 && answer.json["status"] == .string("paused"))
        }
        #expect(try await ask(node, "POST", "/v1/workflows/b/terminate").status == 200)
        let calls = node.calls.withLock { $0.controls }
        #expect(calls.map(\.action) == WorkflowAction.allCases + [.terminate])
        #expect(calls.map(\.reason) == Array(repeating: "why", count: 5) + [""])
        #expect(try await ask(node, "GET", "/v1/workflows/a/cancel").status == 405)
        #expect(try await ask(node, "POST", "/v1/workflows/a/stop").status == 404)
        #expect(try await ask(node, "POST", "/v1/workflows/a/cancel", body: #"{"why":"x"}"#).status == 400)
        #expect(try await ask(node, "POST", "/v1/workflows/a/cancel", body: #"{"reason":3}"#).status == 400)
        #expect(try await ask(node, "POST", "/v1/workflows/ended/cancel").status == 409)
    }

    @Test("what has ended is removed by id, and by age and number in portions")
    func prune() async throws {
        let node = FakeNode()
        #expect(try await ask(node, "DELETE", "/v1/workflows/order-17").status == 204)
        #expect(node.calls.withLock { $0.pruned } == ["order-17"])
        let answer = try await ask(node, "DELETE", "/v1/workflows?finished=1&olderThan=7d")
        #expect(answer.status == 200)
        #expect(answer.json == .object(["pruned": .integer(3), "hasMore": .bool(true)]))
        _ = try await ask(node, "DELETE", "/v1/workflows?finished=1&keep=10")
        _ = try await ask(node, "DELETE", "/v1/workflows?finished=1&namespace=other")
        #expect(node.calls.withLock { $0.prunings.map(\.namespace) } == ["default", "default", "other"])
        #expect(
            node.calls.withLock { $0.prunings.map(\.retention) } == [
                WorkflowRetention(age: .seconds(7 * 86_400), count: nil), WorkflowRetention(age: nil, count: 10),
                WorkflowRetention(age: .zero, count: nil),
            ])
        for query in [
            "", "?finished=0", "?finished=1&olderThan=soon", "?finished=1&keep=-1", "?finished=1&status=failed",
        ] {
            #expect(try await ask(node, "DELETE", "/v1/workflows" + query).status == 400, "\(query)")
        }
        #expect(node.calls.withLock { $0.prunings.count } == 3)
        let running = FakeNode(.init(pruning: .failure(WorkflowError(.wrongState, "it is running"))))
        #expect(try await ask(running, "DELETE", "/v1/workflows/a").status == 409)
    }

    // MARK: Nodes

    @Test("hashes are computed only where they are asked for")
    func status() async throws {
        let node = FakeNode()
        let plain = try await ask(node, "GET", "/v1/status")
        #expect(plain.json["groups"]?.elements.first?["stateHash"] == nil)
        let hashed = try await ask(node, "GET", "/v1/status?hash=1")
        #expect(hashed.json["groups"]?.elements.first?["stateHash"] == .string("beef"))
        #expect(node.calls.withLock { $0.hashes } == [false, true])
    }

    @Test("a node is removed by its number")
    func removeNode() async throws {
        let node = FakeNode()
        #expect(try await ask(node, "DELETE", "/v1/nodes/3").status == 204)
        #expect(node.calls.withLock { $0.removed } == [NodeID(3)])
        #expect(try await ask(node, "DELETE", "/v1/nodes/three").status == 400)
    }

    @Test("a node that has not caught up is live but not ready")
    func health() async throws {
        let node = FakeNode(.init(isReady: false))
        #expect(try await ask(node, "GET", "/health/live").status == 200)
        let ready = try await ask(node, "GET", "/health/ready")
        #expect(ready.status == 503)
        #expect(ready.headers["Retry-After"] == "1")
        #expect(try await ask(node, "GET", "/health").json["status"] == .string("starting"))
        #expect(try await ask(FakeNode(), "GET", "/health/ready").status == 200)
    }

    @Test("metrics are Prometheus' text: help and type once, then a line for each sample")
    func metrics() async throws {
        let answer = try await ask(FakeNode(), "GET", "/metrics")
        #expect(answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8")
        let lines = (answer.json.text ?? "").split(separator: "\n").map(String.init)
        #expect(lines.contains("# TYPE flotilla_workflows gauge"))
        #expect(lines.contains("flotilla_workflows{status=\"completed\"} 5"))
        #expect(lines.contains("flotilla_group_applied_index{group=\"2\",kind=\"workflow\"} 10"))
        #expect(lines.filter { $0.hasPrefix("# HELP flotilla_workflows ") }.count == 1)
    }

    @Test("TT-48: metrics of clusters have their id, and their number is bounded whatever a node leads")
    func fleetMetrics() async throws {
        let answer = try await ask(FakeNode(), "GET", "/metrics")
        let lines = (answer.json.text ?? "").split(separator: "\n").map(String.init)
        for line in [
            "flotilla_cluster_workflows{cluster_id=\"cluster-17\"} 17",
            "flotilla_cluster_checkpoints_total{cluster_id=\"cluster-17\"} 4",
            "flotilla_cluster_quorum_seconds_sum{cluster_id=\"cluster-17\"} 0.003",
            "flotilla_cluster_quorum_seconds_count{cluster_id=\"cluster-17\"} 2",
            "flotilla_node_memberships{node=\"7\"} 3",
            "flotilla_node_messages_total{node=\"7\",direction=\"sent\"} 9",
            "flotilla_fleet_workflows 12", "flotilla_fleet_utilisation 0.25", "flotilla_clusters_omitted 50",
            "# TYPE flotilla_cluster_quorum_seconds summary", "# TYPE flotilla_cluster_checkpoints_total counter",
        ] { #expect(lines.contains(line), "\(line)") }
        #expect(lines.filter { $0.contains("cluster_id=") }.count == 4 * FleetFigures.clusterLimit)
    }
}
