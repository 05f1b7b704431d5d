public import FlotillaActors
import FlotillaIO
public import FlotillaRaft

/// What the management group replicates: which nodes there are, where they are reached, which groups are wanted, and
/// the feature level that all agreed on. It says what is desired; a group's own configuration says what is.
///
/// Confined to the group's loop.
public final class ManagementStateMachine: StateMachine {
    public static let formatVersion: UInt32 = 1

    /// A member of the fleet.
    public struct Node: Hashable, Sendable {
        public var node: NodeID
        public var instance: UInt64
        public var address: String
        public var httpAddress: String
        public var featureLevel: UInt32
        /// Group time at which it was registered first, in nanoseconds since 1970.
        public var joinedAt: Int64
    }

    /// A group that is wanted, with the life that it is in.
    public struct Group: Hashable, Sendable {
        public var group: GroupID
        public var incarnation: UInt64
        public var kind: GroupKind
        public var createdAt: Int64
    }

    /// Codes of `Answer`.
    public enum Refusal: UInt32, Sendable {
        case duplicateNode = 1
        case unknownNode = 2
        case featureLevelUnsupported = 3
        case lastNode = 4
    }

    public private(set) var nodes: [NodeID: Node] = [:]
    public private(set) var groups: [GroupID: Group] = [:]
    public private(set) var featureLevel: UInt32 = 1
    private let agreedLevel: FeatureLevel
    private let didChange: @Sendable (ManagementView) -> Void
    private var hasChanged = false

    /// - Parameter didChange: called on the loop after a batch that changed something.
    init(agreedLevel: FeatureLevel, didChange: @escaping @Sendable (ManagementView) -> Void) {
        self.agreedLevel = agreedLevel
        self.didChange = didChange
    }

    public var view: ManagementView { ManagementView(nodes: nodes, groups: groups, featureLevel: featureLevel) }

    // MARK: StateMachine

    public func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer {
        var operations: [ManagementOperation] = []
        for operation in command.operations { operations.append(try ManagementOperation(operation)) }
        // All or nothing: what is refused is found before anything changes.
        var next = view
        for operation in operations {
            if let refusal = next.apply(operation, time: time) { return Answer(code: refusal.rawValue) }
        }
        hasChanged = hasChanged || next != view
        nodes = next.nodes
        groups = next.groups
        featureLevel = next.featureLevel
        agreedLevel.raise(to: featureLevel)
        return Answer()
    }

    public func didApplyBatch() {
        guard hasChanged else { return }
        hasChanged = false
        didChange(view)
    }

    public func snapshotView() -> any SnapshotView { view }

    public static func decode(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) -> ManagementView {
        guard formatVersion == Self.formatVersion else {
            throw ApplyError(.unknownFormat, "management state of format \(formatVersion)")
        }
        do throws(WireError) {
            return try ManagementView(decoding: bytes)
        } catch {
            throw ApplyError(.unknownFormat, error.description)
        }
    }

    public func restore(_ restored: ManagementView) {
        nodes = restored.nodes
        groups = restored.groups
        featureLevel = restored.featureLevel
        agreedLevel.raise(to: featureLevel)
        hasChanged = true
    }
}

/// The management state as a value. It holds a line per node and per group, so copies are cheap.
public struct ManagementView: Hashable, Sendable, SnapshotView {
    public var nodes: [NodeID: ManagementStateMachine.Node] = [:]
    public var groups: [GroupID: ManagementStateMachine.Group] = [:]
    public var featureLevel: UInt32 = 1

    /// - Returns: why the operation is refused; then nothing has changed.
    mutating func apply(_ operation: ManagementOperation, time: Int64) -> ManagementStateMachine.Refusal? {
        switch operation {
        case .registerNode(var node):
            if let known = nodes[node.node], known.instance != node.instance { return .duplicateNode }
            guard node.featureLevel >= featureLevel else { return .featureLevelUnsupported }
            node.joinedAt = nodes[node.node]?.joinedAt ?? time
            nodes[node.node] = node
        case .removeNode(let node, let instance):
            guard let known = nodes[node], instance ?? known.instance == known.instance else { return .unknownNode }
            guard nodes.count > 1 else { return .lastNode }
            nodes[node] = nil
        case .createGroup(var group):
            group.createdAt = time
            if groups[group.group] == nil { groups[group.group] = group }
        case .raiseFeatureLevel(let level):
            guard nodes.values.allSatisfy({ $0.featureLevel >= level }) else { return .featureLevelUnsupported }
            featureLevel = max(featureLevel, level)
        }
        return nil
    }

    public func serialize() -> [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, UInt64(featureLevel))
        for (_, node) in nodes.sorted(by: { $0.key < $1.key }) {
            writer.message(2) { ManagementOperation.encode(node, into: &$0) }
        }
        for (_, group) in groups.sorted(by: { $0.key < $1.key }) {
            writer.message(3) { ManagementOperation.encode(group, into: &$0) }
        }
        return writer.bytes
    }

    init(
        nodes: [NodeID: ManagementStateMachine.Node] = [:], groups: [GroupID: ManagementStateMachine.Group] = [:],
        featureLevel: UInt32 = 1
    ) {
        self.nodes = nodes
        self.groups = groups
        self.featureLevel = featureLevel
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: featureLevel = try reader.uint32()
            case 2:
                var inner = try reader.message()
                let node = try ManagementOperation.node(&inner)
                nodes[node.node] = node
            case 3:
                var inner = try reader.message()
                let group = try ManagementOperation.group(&inner)
                groups[group.group] = group
            default: throw reader.unknownField(in: "the management state")
            }
        }
    }
}
