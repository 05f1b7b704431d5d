import FlotillaIO

/// What a node takes on. What comes above is refused before it costs anything, by an error that says when to try again
/// (`WorkflowError.retryAfter`); what was taken on goes on.
public struct AdmissionLimits: Hashable, Sendable {
    /// A start that comes by this node is refused with `tooManyWorkflows` while so many runs of the cluster that would take
    /// it have not ended. Nil for no limit. It goes with the start, and each replica counts: two starts at once by two
    /// nodes do not pass together.
    public var workflows: Int?
    /// The same by type, over all its versions.
    public var workflowsByType: [String: Int] = [:]
    /// Starts, signals, updates and completions of awakeables that may wait in this node to be recorded; more are refused
    /// with `overloaded`.
    public var requests = 10_000
    /// The bytes of their payloads, in all; one that comes alone is taken whatever its size.
    public var requestBytes = 256 << 20
    /// The memory of this node's process, in bytes, above which it refuses the same with `overloaded`. Runs go on, so leave
    /// room for what they record. By default four fifths of the machine's memory, or of what the process's control group
    /// may have. Each node looks at its own.
    public var memoryBytes = MachineMemory.available().map { $0 / 5 * 4 } ?? .max

    /// No limit of runs, and the defaults for what waits.
    public init() {}

    /// What is wrong with it; nil where nothing is.
    var problem: String? {
        let numbers =
            [
                ("workflows", workflows), ("requests", requests), ("requestBytes", requestBytes),
                ("memoryBytes", memoryBytes),
            ]
            + workflowsByType.map { ("workflowsByType[\"\($0.key)\"]", $0.value) }
        let wrong = numbers.first { $0.1.map { $0 < 1 } ?? false }
        return wrong.map { "admission.\($0.0) is \($0.1 ?? 0); choose a number from 1 on" }
    }
}
