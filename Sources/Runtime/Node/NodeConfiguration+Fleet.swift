// A node's configuration by its place in a fleet; each step gives a changed copy.

extension NodeConfiguration {
    /// The first node of a fleet.
    /// - Parameter address: where peers connect, "host:port".
    public static func bootstrap(address: String, id: UInt64 = 1) -> NodeConfiguration {
        NodeConfiguration(id: id, listen: address)
    }

    /// One more node of a fleet. Its id is its operator's choice, because it has to be the same after each restart.
    /// - Parameter seeds: nodes of the fleet to ask, "host:port" each.
    public static func join(address: String, seeds: [String], id: UInt64) -> NodeConfiguration {
        var configuration = NodeConfiguration(id: id, listen: address, join: seeds)
        configuration.founds = false
        return configuration
    }

    /// See `managementRole`.
    public func withManagementRole(_ role: NodeRole) -> NodeConfiguration { with { $0.managementRole = role } }

    /// Adds labels to those that there are; see `labels`.
    public func withLabels(_ labels: [String: String]) -> NodeConfiguration {
        with { $0.labels.merge(labels) { _, new in new } }
    }

    /// See `executionClusterPolicy`.
    public func withExecutionClusterPolicy(_ policy: ExecutionClusterPolicy) -> NodeConfiguration {
        with { $0.executionClusterPolicy = policy }
    }

    private func with(_ change: (inout NodeConfiguration) -> Void) -> NodeConfiguration {
        var configuration = self
        change(&configuration)
        return configuration
    }
}
