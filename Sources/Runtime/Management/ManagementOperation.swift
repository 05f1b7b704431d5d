import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// The commands of the management group: `flotilla.v1.management` in Protos/management.proto.
enum ManagementOperation: Hashable, Sendable {
    /// Adds a node, or changes what is known of it. Refused for a known id with another instance.
    case registerNode(ManagementStateMachine.Node)
    /// Its replicas are removed from all groups; it may come back as a new node.
    /// - instance: only the node with these data; nil for whichever it is.
    case removeNode(NodeID, instance: UInt64?)
    case createGroup(ManagementStateMachine.Group)
    /// Refused while a node does not support it.
    case raiseFeatureLevel(UInt32)

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let type: UInt32
        switch self {
        case .registerNode(let node):
            type = 1
            Self.encode(node, into: &writer)
        case .removeNode(let node, let instance):
            type = 2
            writer.varint(1, node.rawValue)
            writer.fixed64(2, instance ?? 0)
        case .createGroup(let group):
            type = 3
            Self.encode(group, into: &writer)
        case .raiseFeatureLevel(let level):
            type = 4
            writer.varint(1, UInt64(level))
        }
        return Operation(type: type, version: Self.version, body: writer.bytes)
    }

    init(_ operation: Operation) throws(ApplyError) {
        guard operation.version == Self.version else {
            throw ApplyError(.unknownVersion, "management operation \(operation.type) version \(operation.version)")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            switch operation.type {
            case 1: self = .registerNode(try Self.node(&reader))
            case 2: self = try Self.removal(&reader)
            case 3: self = .createGroup(try Self.group(&reader))
            case 4: self = .raiseFeatureLevel(UInt32(clamping: try Self.number(&reader)))
            default: throw WireError(.invalidTag, "")
            }
        } catch {
            switch error.code {
            case .invalidTag: throw ApplyError(.unknownCommand, "management operation \(operation.type)")
            case .unknownField: throw ApplyError(.unknownField, error.description)
            default: throw ApplyError(.damagedCommand, error.description)
            }
        }
    }

    static func encode(_ node: ManagementStateMachine.Node, into writer: inout ProtobufWriter) {
        writer.varint(1, node.node.rawValue)
        writer.fixed64(2, node.instance)
        writer.string(3, node.address)
        writer.string(4, node.httpAddress)
        writer.varint(5, UInt64(node.featureLevel))
        writer.signed(6, node.joinedAt)
    }

    static func node(_ reader: inout ProtobufReader) throws(WireError) -> ManagementStateMachine.Node {
        var node = ManagementStateMachine.Node(
            node: NodeID(0), instance: 0, address: "", httpAddress: "", featureLevel: 0, joinedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: node.node = NodeID(try reader.varint())
            case 2: node.instance = try reader.fixed64()
            case 3: node.address = try reader.string()
            case 4: node.httpAddress = try reader.string()
            case 5: node.featureLevel = try reader.uint32()
            case 6: node.joinedAt = try reader.signed()
            default: throw reader.unknownField(in: "a node")
            }
        }
        return node
    }

    static func encode(_ group: ManagementStateMachine.Group, into writer: inout ProtobufWriter) {
        writer.varint(1, group.group.rawValue)
        writer.varint(2, group.incarnation)
        writer.varint(3, UInt64(group.kind.rawValue))
        writer.signed(4, group.createdAt)
    }

    static func group(_ reader: inout ProtobufReader) throws(WireError) -> ManagementStateMachine.Group {
        var group = ManagementStateMachine.Group(
            group: GroupID(0), incarnation: 0, kind: GroupKind(0), createdAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: group.group = GroupID(try reader.varint())
            case 2: group.incarnation = try reader.varint()
            case 3: group.kind = GroupKind(try reader.uint32())
            case 4: group.createdAt = try reader.signed()
            default: throw reader.unknownField(in: "a group")
            }
        }
        return group
    }

    private static func removal(_ reader: inout ProtobufReader) throws(WireError) -> ManagementOperation {
        var node = NodeID(0)
        var instance: UInt64?
        while let field = try reader.next() {
            switch field {
            case 1: node = NodeID(try reader.varint())
            case 2: instance = try reader.fixed64()
            default: throw reader.unknownField(in: "a management operation")
            }
        }
        return .removeNode(node, instance: instance)
    }

    private static func number(_ reader: inout ProtobufReader) throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "a management operation") }
            value = try reader.varint()
        }
        return value
    }
}
