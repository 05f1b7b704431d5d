import FlotillaIO
import FlotillaRaft

// Clusters, nodes and the policy under /v1. What is changed is durable with the answer; the groups follow by themselves.

extension HTTPAPI {
    func fleetRoutes(for path: [String]) -> [(method: String, handler: Handler)]? {
        guard path.first == "v1", path.count > 1 else { return nil }
        switch (path[1], path.count) {
        case ("clusters", 2): return [("GET", clusters), ("POST", createCluster)]
        case ("clusters", 3):
            return [("GET", { try await cluster(path[2], $0) }), ("DELETE", { try await destroy(path[2], $0) })]
        case ("clusters", 4) where path[3] == "drain": return [("POST", { try await drain(path[2], $0) })]
        case ("clusters", 4) where path[3] == "resume": return [("POST", { try await resume(path[2], $0) })]
        case ("clusters", 4) where path[3] == "recovery":
            return [("GET", { try await recoveryPlan(path[2], $0) }), ("POST", { try await recover(path[2], $0) })]
        case ("clusters", 5) where path[3] == "members":
            return [
                ("PUT", { try await addMember(path[4], path[2], $0) }),
                ("DELETE", { try await removeMember(path[4], path[2], $0) }),
            ]
        case ("nodes", 2): return [("GET", nodes)]
        case ("nodes", 3): return [("DELETE", { try await removeNode(path[2], $0) })]
        case ("nodes", 4) where path[3] == "drain":
            return [("POST", { try await drainNode(path[2], isDraining: true, $0) })]
        case ("nodes", 4) where path[3] == "resume":
            return [("POST", { try await drainNode(path[2], isDraining: false, $0) })]
        case ("nodes", 4) where path[3] == "promote":
            return [("POST", { try await changeRole(path[2], .voter, $0) })]
        case ("nodes", 4) where path[3] == "demote":
            return [("POST", { try await changeRole(path[2], .learner, $0) })]
        case ("policy", 2): return [("GET", policy), ("PATCH", changePolicy)]
        default: return nil
        }
    }

    // MARK: Clusters

    private func clusters(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(.object(["clusters": .array(try await node.fleet().clusters.map(FleetJSON.value))]))
    }

    private func cluster(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(try FleetJSON.value(try await node.cluster(id)))
    }

    private func createCluster(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.optionalObject(allowing: ["nodes", "pinnedType"])
        let id = try await node.createCluster(
            on: try body.nodes("nodes"), pinnedType: try body.string("pinnedType"))
        var response = HTTPResponse.json(try FleetJSON.value(try await node.cluster(id)), status: 201)
        response.headers.append((name: "Location", value: "/v1/clusters/" + id))
        return response
    }

    private func destroy(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("force")
        try await node.destroyCluster(id, isForced: try request.flag("force"))
        return HTTPResponse(status: 204)
    }

    private func drain(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.optionalObject(allowing: ["into"])
        try await node.drainCluster(id, into: try body.string("into"))
        return .json(try FleetJSON.value(try await node.cluster(id)))
    }

    private func resume(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        _ = try request.optionalObject(allowing: [])
        try await node.resumeCluster(id)
        return .json(try FleetJSON.value(try await node.cluster(id)))
    }

    private func recoveryPlan(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(try FleetJSON.value(try await node.recoveryPlan(ofCluster: id)))
    }

    private func recover(_ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("force")
        let plan = try await node.recoverCluster(id, isForced: try request.flag("force"))
        return .json(try FleetJSON.value(plan))
    }

    private func addMember(_ text: String, _ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.optionalObject(allowing: ["role"])
        let name = try body.string("role") ?? NodeRole.voter.name
        guard let role = NodeRole(name: name) else {
            throw Problem.badRequest("role \(name): there are voter and learner")
        }
        try await node.addMember(try Self.nodeID(text), toCluster: id, asLearner: role == .learner)
        return .json(try FleetJSON.value(try await node.cluster(id)))
    }

    private func removeMember(_ text: String, _ id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        try await node.removeMember(try Self.nodeID(text), fromCluster: id)
        return HTTPResponse(status: 204)
    }

    // MARK: Nodes

    private func nodes(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(try FleetJSON.value(nodes: try await node.fleet().nodes))
    }

    private func removeNode(_ text: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        try await node.removeNode(try Self.nodeID(text))
        return HTTPResponse(status: 204)
    }

    private func drainNode(_ text: String, isDraining: Bool, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        _ = try request.optionalObject(allowing: [])
        let id = try Self.nodeID(text)
        try await node.drainNode(id, isDraining: isDraining)
        return try await changed([id])
    }

    /// All of them count together, so that the number of voters can stay odd.
    private func changeRole(_ text: String, _ role: NodeRole, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.optionalObject(allowing: ["promote", "demote"])
        let (promoted, demoted) = (try body.nodes("promote") ?? [], try body.nodes("demote") ?? [])
        let changes = [(try Self.nodeID(text), role)] + promoted.map { ($0, .voter) } + demoted.map { ($0, .learner) }
        var roles: [NodeID: NodeRole] = [:]
        for (id, role) in changes {
            guard roles.updateValue(role, forKey: id).map({ $0 == role }) ?? true else {
                throw Problem.badRequest("\(id) is to be promoted and demoted")
            }
        }
        try await node.setRoles(roles)
        return try await changed(Set(roles.keys))
    }

    private func changed(_ ids: Set<NodeID>) async throws -> HTTPResponse {
        .json(try FleetJSON.value(nodes: try await node.fleet().nodes.filter { ids.contains(NodeID($0.id)) }))
    }

    private static func nodeID(_ text: String) throws(Problem) -> NodeID {
        guard let number = UInt64(text), number > 0 else {
            throw .badRequest("\(text) is no node id; ids are numbers from 1 on")
        }
        return NodeID(number)
    }

    // MARK: The policy

    private func policy(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(PolicyField.value(of: try await node.policy()))
    }

    /// Changes what is named and leaves the rest.
    private func changePolicy(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: Set(PolicyField.all.map(\.name)))
        var policy = try await node.policy()
        do throws(PolicyFieldError) {
            try PolicyField.apply(body.members, to: &policy)
        } catch {
            throw Problem.badRequest("\(error.field.name): \(error.message)")
        }
        if let problem = policy.problem { throw Problem.badRequest(problem) }
        try await node.setPolicy(policy)
        return .json(PolicyField.value(of: policy))
    }
}
