import FlotillaActors
public import FlotillaRaft

/// A version of a workflow: who has it, and how many runs need it.
public struct WorkflowVersion: Hashable, Codable, Sendable {
    /// The workflow's name.
    public var type: String
    /// The version, from 1.
    public var version: UInt32
    /// The live nodes that have it. Where there is none, its runs are parked until one comes.
    public var nodes: [NodeID]
    /// How many runs of it a live node owns.
    public var running: Int
    /// How many runs of it wait for a node that has it.
    public var parked: Int
    /// How many runs of it wait to be resumed.
    public var paused: Int

    /// It can go from the code: no run needs it, except for a failed one that is run again.
    public var isUnused: Bool { running + parked + paused == 0 }
}

extension WorkflowState {
    /// Every version that was ever registered, by name and number.
    var versions: [WorkflowVersion] {
        // Without those that every node has.
        knownTypes.sorted().filter { !$0.name.hasPrefix("$") }.map { type in
            let counts = unfinishedCounts[type] ?? [:]
            return WorkflowVersion(
                type: type.name, version: type.version,
                nodes: executors.filter { $0.value.isAlive && $0.value.capabilities.contains(type) }.map(\.key),
                running: counts[.running] ?? 0, parked: counts[.parked] ?? 0, paused: counts[.paused] ?? 0)
        }
    }
}

extension WorkflowEngine {
    /// Every version of every workflow that a node ever registered.
    /// - Throws: `WorkflowError` with `unavailable` or `stopped`; `CancellationError`.
    public func versions() async throws -> [WorkflowVersion] {
        try await namingErrors { [environment] in
            try await environment.client.barrier()
            return try await environment.withMachine { $0.state.versions }
        }
    }
}
