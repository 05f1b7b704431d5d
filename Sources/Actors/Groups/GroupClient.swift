public import FlotillaRaft

/// What the layers above a group may ask of it, from any task. The real one is a node's handle of a Raft group.
public protocol GroupClient: Sendable {
    /// The node that asks.
    var node: NodeID { get }

    /// Replicates one command and waits until this node has applied it. Sent again by itself while the outcome is
    /// unknown; it is applied at most once.
    /// - Throws: `GroupError`; `CancellationError` when the task is cancelled (the command may still be applied).
    func propose(_ operations: [Operation], ownerEpoch: UInt64) async throws -> Answer

    /// Waits until this node has applied everything that was committed before the call (read index).
    func barrier() async throws

    /// Runs `body` on the group's loop with the state as it stands on this node. Must be short.
    func withState<Result: Sendable>(_ body: @escaping @Sendable (any StateMachine) -> Result) async throws -> Result
}

/// Why a group did not do what was asked.
public struct GroupError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// Too many requests wait already; try again later.
        case overloaded
        /// The log's disk on this node is full. Nothing was done; other nodes may take it.
        case diskFull
        /// The command is larger than a group takes.
        case tooLarge
        /// No answer within the time limit; the outcome is unknown.
        case timedOut
        /// The group stopped on this node: it met a command it does not know, its disk failed, or the node shuts down.
        case stopped
        case unknownGroup
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}
