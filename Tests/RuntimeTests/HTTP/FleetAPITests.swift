import FlotillaIO
import Testing

@testable import Flotilla

@Suite("The fleet over HTTP")
struct FleetAPITests {
    private static let id = FakeNode.clusterID.text
    /// As an operator may write it.
    private static let short = String(id.prefix(8))

    private func ask(
        _ node: FakeNode, _ method: String, _ path: String, query: [(name: String, value: String)] = [],
        body: String = ""
    ) async throws -> (status: Int, json: JSONValue, location: String?) {
        let response = await HTTPAPI(node: node).respond(
            to: HTTPRequest(
                method: method, path: path, segments: path.split(separator: "/").map(String.init), query: query,
                body: Array(body.utf8)))
        return (
            response.status, response.body.isEmpty ? .null : try JSONValue(parsing: response.body),
            response.headers.first { $0.name == "Location" }?.value
        )
    }

    private func changes(_ node: FakeNode) -> [String] { node.calls.withLock { $0.changes } }

    // MARK: Clusters

    @Test("clusters are listed and described with their members, runs and times")
    func clusters() async throws {
        let list = try await ask(FakeNode(), "GET", "/v1/clusters")
        #expect(list.status == 200)
        #expect(list.json["clusters"]?.elements.map { $0["id"] } == [.string(Self.id)])
        let one = try await ask(FakeNode(), "GET", "/v1/clusters/\(Self.short)")
        #expect(one.json["createdAt"] == .string("1970-01-01T00:00:00.001000Z"))
        #expect(one.json["members"]?.elements.map { $0["node"] } == [.integer(1), .integer(2), .integer(3)])
        #expect(one.json["phase"] == .string("active"))
        #expect(try await ask(FakeNode(), "GET", "/v1/clusters/zz").status == 404)
    }

    @Test("a cluster is created on nodes that are named, or on any")
    func create() async throws {
        let node = FakeNode()
        let answer = try await ask(node, "POST", "/v1/clusters", body: #"{"nodes":[1,2,3],"pinnedType":"t"}"#)
        #expect(answer.status == 201 && answer.location == "/v1/clusters/" + Self.id)
        #expect(answer.json["id"] == .string(Self.id))
        #expect(try await ask(node, "POST", "/v1/clusters").status == 201)
        #expect(changes(node) == ["create [1, 2, 3] t", "create any "])
    }

    @Test("a cluster is destroyed, by force where that is said; drained, also into another one, and resumed")
    func ends() async throws {
        let node = FakeNode()
        let path = "/v1/clusters/\(Self.short)"
        #expect(try await ask(node, "DELETE", path).status == 204)
        #expect(try await ask(node, "DELETE", path, query: [("force", "1")]).status == 204)
        #expect(try await ask(node, "POST", path + "/drain").json["id"] == .string(Self.id))
        #expect(try await ask(node, "POST", path + "/drain", body: #"{"into":"ab"}"#).status == 200)
        #expect(try await ask(node, "POST", path + "/resume").status == 200)
        let short = Self.short
        #expect(
            changes(node) == [
                "destroy \(short) false", "destroy \(short) true", "drain \(short) any", "drain \(short) ab",
                "resume \(short)",
            ])
    }

    @Test("the plan to recover a cluster is shown with what it costs, and carried out by force")
    func recovery() async throws {
        let node = FakeNode()
        let path = "/v1/clusters/\(Self.short)/recovery"
        let plan = try await ask(node, "GET", path).json
        #expect(plan["survivor"] == .integer(3) && plan["isCarriedOut"] == .bool(false))
        #expect(plan["consequences"]?.elements.first?.text?.contains("nodes 1, 2") == true, "\(plan)")
        #expect(changes(node).isEmpty)
        #expect(try await ask(node, "POST", path, query: [("force", "1")]).json["isCarriedOut"] == .bool(true))
        #expect(changes(node) == ["recover \(Self.short) true"])
        #expect(try await ask(node, "POST", path, query: [("forced", "1")]).status == 400)
        #expect(try await ask(node, "DELETE", path).status == 405)
    }

    @Test("a member is added as voter or learner, and removed")
    func members() async throws {
        let node = FakeNode()
        let path = "/v1/clusters/\(Self.short)/members/4"
        #expect(try await ask(node, "PUT", path).status == 200)
        #expect(try await ask(node, "PUT", path, body: #"{"role":"learner"}"#).status == 200)
        #expect(try await ask(node, "DELETE", path).status == 204)
        let short = Self.short
        #expect(changes(node) == ["add 4 \(short) false", "add 4 \(short) true", "remove 4 \(short)"])
    }

    // MARK: Nodes

    @Test("nodes are listed with roles and labels")
    func nodes() async throws {
        let answer = try await ask(FakeNode(), "GET", "/v1/nodes")
        let nodes = try #require(answer.json["nodes"]?.elements)
        #expect(nodes.map { $0["role"] } == [.string("voter"), .string("learner"), .string("learner")])
        #expect(nodes[1]["labels"] == .object(["zone": .string("z2")]))
        #expect(nodes[1]["clusters"] == .integer(1))
    }

    @Test("a node is drained and resumed")
    func drain() async throws {
        let node = FakeNode()
        #expect(try await ask(node, "POST", "/v1/nodes/2/drain").json["nodes"]?.elements.count == 1)
        #expect(try await ask(node, "POST", "/v1/nodes/2/resume").status == 200)
        #expect(changes(node) == ["node 2 true", "node 2 false"])
    }

    @Test("TT-09: roles change together, so that one request can leave an odd number of voters")
    func roles() async throws {
        let node = FakeNode()
        let swapped = try await ask(node, "POST", "/v1/nodes/3/promote", body: #"{"demote":[1]}"#)
        #expect(swapped.status == 200 && swapped.json["nodes"]?.elements.count == 2)
        _ = try await ask(node, "POST", "/v1/nodes/2/promote", body: #"{"promote":[3]}"#)
        _ = try await ask(node, "POST", "/v1/nodes/1/demote", body: #"{"promote":[2],"demote":[1]}"#)
        #expect(changes(node) == ["1=learner 3=voter", "2=voter 3=voter", "1=learner 2=voter"])
        let both = try await ask(node, "POST", "/v1/nodes/3/promote", body: #"{"demote":[3]}"#)
        #expect(both.status == 400 && changes(node).count == 3)
    }

    // MARK: The policy

    @Test("TT-26: every field of the policy is shown, and changed one by one")
    func policy() async throws {
        let node = FakeNode()
        let shown = try await ask(node, "GET", "/v1/policy").json
        #expect(shown["maximumWorkflowsPerCluster"] == .integer(20) && shown["targetClusterSize"] == .integer(5))
        #expect(shown["strategy"] == .string("roundRobin") && shown["rebalanceThreshold"] == .number(0.3))
        #expect(shown["idleTimeToLive"] == .string("5m") && shown["targetVoterCount"] == .string("automatic"))
        let members: [String: JSONValue] = if case .object(let members) = shown { members } else { [:] }
        // What is shown can be sent back.
        let body = String(decoding: shown.canonicalBytes, as: UTF8.self)
        #expect(try await ask(node, "PATCH", "/v1/policy", body: body).json == shown)
        #expect(members.count == PolicyField.all.count)
        let changed = try await ask(
            node, "PATCH", "/v1/policy", body: #"{"maximumWorkflowsPerCluster":40,"strategy":"typeAffinity"}"#)
        #expect(changed.json["maximumWorkflowsPerCluster"] == .integer(40))
        #expect(changed.json["idleTimeToLive"] == .string("5m"))
        #expect(changes(node).last == "policy 40 typeAffinity \(Duration.seconds(300))")
    }

    // MARK: Errors

    @Test(
        "what cannot be understood answers 400, names it and changes nothing",
        arguments: [
            ("POST", "/v1/clusters", #"{"node":[1]}"#, "unknown member node"),
            ("POST", "/v1/clusters", #"{"nodes":3}"#, "nodes is not a list"),
            ("POST", "/v1/clusters", #"{"nodes":["a"]}"#, "nodes holds a"),
            ("POST", "/v1/clusters/a/drain", #"{"to":"b"}"#, "unknown member to"),
            ("PUT", "/v1/clusters/a/members/x", "", "x is no node id"),
            ("PUT", "/v1/clusters/a/members/3", #"{"role":"king"}"#, "role king"),
            ("POST", "/v1/nodes/0/drain", "", "0 is no node id"),
            ("POST", "/v1/nodes/3/promote", #"{"demoted":[1]}"#, "unknown member demoted"),
            ("PATCH", "/v1/policy", #"{"maxWorkflows":1}"#, "unknown member maxWorkflows"),
            ("PATCH", "/v1/policy", #"{"strategy":"best"}"#, "strategy: best is not roundRobin"),
            ("PATCH", "/v1/policy", #"{"idleTimeToLive":300}"#, "idleTimeToLive: 300 is not"),
            ("PATCH", "/v1/policy", #"{"targetClusterSize":9}"#, "1 to 7 members"),
            ("PATCH", "/v1/policy", #"{"voterSelection":"1,1"}"#, "voterSelection: 1,1"),
        ])
    func badRequests(method: String, path: String, body: String, words: String) async throws {
        let node = FakeNode()
        let answer = try await ask(node, method, path, body: body)
        #expect(answer.status == 400)
        #expect(answer.json["detail"]?.text?.contains(words) == true, "\(answer.json)")
        #expect(changes(node).isEmpty)
    }

    @Test(
        "an unknown parameter is refused by name",
        arguments: [
            ("GET", "/v1/clusters"), ("GET", "/v1/nodes"), ("GET", "/v1/policy"), ("DELETE", "/v1/clusters/a"),
            ("POST", "/v1/clusters/a/drain"), ("PUT", "/v1/clusters/a/members/2"), ("POST", "/v1/nodes/2/demote"),
        ])
    func unknownParameter(method: String, path: String) async throws {
        let node = FakeNode()
        let answer = try await ask(node, method, path, query: [("forced", "1")])
        #expect(answer.status == 400 && changes(node).isEmpty)
        #expect(answer.json["detail"]?.text?.contains("forced") == true)
    }

    @Test("what the state of the fleet does not allow answers 409 with management's words")
    func refusals() async throws {
        let refusing = FakeNode(.init(change: .failure(NodeError(.refused, "not sealed in epoch 2"))))
        let answer = try await ask(refusing, "DELETE", "/v1/clusters/a")
        #expect(answer.status == 409 && answer.json["type"] == .string("urn:flotilla:refused"))
        #expect(answer.json["detail"] == .string("not sealed in epoch 2"))
        let unknown = FakeNode(.init(change: .failure(NodeError(.unknownNode, "node 9 is no member"))))
        #expect(try await ask(unknown, "POST", "/v1/nodes/9/drain").status == 404)
    }

    @Test(
        "a method that a path does not take answers 405",
        arguments: [
            ("PUT", "/v1/clusters"), ("POST", "/v1/clusters/a"), ("GET", "/v1/clusters/a/drain"),
            ("GET", "/v1/clusters/a/members/1"), ("GET", "/v1/nodes/1/promote"), ("PUT", "/v1/policy"),
        ])
    func methods(method: String, path: String) async throws {
        #expect(try await ask(FakeNode(), method, path).status == 405)
    }
}
