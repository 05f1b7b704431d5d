/// Clusters and nodes as the HTTP interface shows them: the members of `FleetStatus` and `ClusterStatus`, with times in
/// RFC 3339; and plans to recover clusters.
enum FleetJSON {
    static func value(_ cluster: ClusterStatus) throws -> JSONValue {
        guard case .object(var members) = try plain(cluster) else { preconditionFailure("a cluster is an object") }
        members["createdAt"] = WorkflowJSON.time(cluster.createdAt)
        members["idleSince"] = cluster.idleSince.map(WorkflowJSON.time)
        return .object(members)
    }

    static func value(nodes: [FleetStatus.Node]) throws -> JSONValue {
        .object(["nodes": .array(try nodes.map(plain))])
    }

    static func value(_ fleet: FleetStatus) throws -> JSONValue {
        guard case .object(var members) = try plain(fleet) else { preconditionFailure("a fleet is an object") }
        members["clusters"] = .array(try fleet.clusters.map(value))
        return .object(members)
    }

    static func value(_ plan: ClusterRecoveryPlan) throws -> JSONValue {
        guard case .object(var members) = try plain(plan) else { preconditionFailure("a plan is an object") }
        members["consequences"] = .array(plan.consequences.map(JSONValue.string))
        return .object(members)
    }

    private static func plain(_ value: some Encodable & Sendable) throws -> JSONValue {
        try JSONValue(parsing: try JSONCoding.encode(value))
    }
}
