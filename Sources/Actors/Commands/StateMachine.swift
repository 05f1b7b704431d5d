public import FlotillaRaft

/// What a group replicates. Confined to the group's loop; `apply` reads no clock and no randomness, so that every
/// replica computes the same.
public protocol StateMachine: AnyObject, SendableMetatype {
    /// A state that was decoded and is not in force yet.
    associatedtype Decoded: Sendable

    /// The version of what `SnapshotView.serialize` writes.
    static var formatVersion: UInt32 { get }

    /// Applies one command whole or, by answering an error code, not at all.
    /// - Parameters:
    ///   - time: the group's time in nanoseconds since 1970, never falling.
    /// - Throws: `ApplyError` when this version does not understand the command. The group stops on this node.
    func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer

    /// Whether other members wait for this command as well as whoever proposed it, so that they are to hear at once that it
    /// is committed. Otherwise they hear of it with the next command, or within a tick.
    func isForOthers(_ operation: Operation) -> Bool

    /// Called on the loop after a batch of commands was applied, or the state was restored: the moment to wake those
    /// who wait for what changed.
    func didApplyBatch()

    /// Called on the loop when this replica becomes its group's leader, or is it no more.
    func roleDidChange(isLeader: Bool)

    /// Called on the loop before the view is taken that the group's next incarnation begins with. The incarnation before
    /// may have issued numbers in entries that are lost: the next one must not issue them again. May come twice.
    func beginIncarnation(_ incarnation: UInt64)

    /// Called once on the loop when the group ends on this node: nobody is to wait for anything in it any more.
    func didStop()

    /// The state as of now, to be serialised off the loop while commands go on. Must not copy in proportion to the
    /// state.
    func snapshotView() -> any SnapshotView

    /// Reads what `SnapshotView.serialize` wrote. Called off the loop: it may take time in proportion to the state.
    static func decode(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) -> Decoded

    /// Replaces the state, on the loop. Must not take time in proportion to it.
    func restore(_ state: Decoded)

    /// What it keeps on disk beside the state; nil for nothing.
    var companion: (any StateCompanion)? { get }

    /// False while what it keeps on disk beside the state is too far behind: nothing more is applied then. Asked again
    /// with every tick.
    var isReadyToApply: Bool { get }
}

extension StateMachine {
    public func isForOthers(_ operation: Operation) -> Bool { true }
    public func didStop() {}
    public func beginIncarnation(_ incarnation: UInt64) {}
    public var companion: (any StateCompanion)? { nil }
    public var isReadyToApply: Bool { true }
    public func roleDidChange(isLeader: Bool) {}

    /// Both steps of a restoration at once, where nobody waits for the loop.
    public func restore(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) {
        restore(try Self.decode(bytes, formatVersion: formatVersion))
    }

    /// Decodes a state for a machine of this type.
    /// - Returns: puts it in force, on the loop.
    static func restoration(
        _ bytes: [UInt8], formatVersion: UInt32
    ) throws(ApplyError) -> @Sendable (any StateMachine) -> Void {
        let state = try decode(bytes, formatVersion: formatVersion)
        return { machine in
            guard let machine = machine as? Self else {
                preconditionFailure("a state of \(Self.self) is no state of \(type(of: machine))")
            }
            machine.restore(state)
        }
    }
}

/// A frozen state. Equal states serialise to equal bytes.
public protocol SnapshotView: Sendable {
    /// Makes durable what the state refers to, before a snapshot of it counts. Blocks; called off the loop.
    func prepare() throws(LogError)
    func serialize() -> [UInt8]
}

extension SnapshotView {
    public func prepare() throws(LogError) {}
}

/// A state machine's answer to a command. Kept until the client has acknowledged it, so it should be small.
public struct Answer: Hashable, Sendable {
    /// Zero for success; else a code of the state machine's own.
    public var code: UInt32
    public var body: [UInt8]
    public init(code: UInt32 = 0, body: [UInt8] = []) {
        self.code = code
        self.body = body
    }
}

/// A command, a field or a version that this binary does not know: to skip it would let replicas diverge.
public struct ApplyError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case unknownCommand, unknownVersion, unknownField, featureLevelTooHigh, damagedCommand, unknownFormat
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}
