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
    /// Once, by the first node: a fleet begins with one cluster for everything.
    case createCommonCluster
    /// Refused while a node does not support it.
    case raiseFeatureLevel(UInt32)
    /// The cluster's group gets its number when this is applied.
    case createCluster(ClusterCreation)
    case destroyCluster(ClusterID, sealEpoch: UInt64, isForced: Bool)
    /// Adds a member to a cluster, or changes its role.
    case associateNode(ClusterID, NodeID, ExecutionCluster.MemberRole)
    case disassociateNode(ClusterID, NodeID)
    case reportWorkflows(WorkflowReport)
    /// In the management group. The command as a whole must leave an odd number of voters.
    case changeNodeRole(NodeID, NodeRole)
    case setPolicy(ExecutionClusterPolicy)
    case moveSlots(SlotMove)
    /// No new runs come to the cluster; those that it has go to `into`, or end.
    case drainCluster(ClusterID, into: ClusterID?)
    case resumeCluster(ClusterID)
    /// How many runs are to move between two clusters in all, counted down as they arrive.
    case moveRuns(from: ClusterID, to: ClusterID, count: Int)
    /// A node that is to leave gives its places to others.
    case drainNode(NodeID, isDraining: Bool)
    /// The fleet has grown beyond one cluster for everything.
    case beginMigration
    /// A group's own configuration holds no replica any more on a node that left it.
    case confirmDeparture(Departure)
    /// An operator's word that the cluster's majority is lost for good.
    case recoverCluster(ClusterRecovery)

    private enum Number: UInt32 {
        case registerNode = 1
        case removeNode, createCommonCluster, raiseFeatureLevel, createCluster, destroyCluster, associateNode,
            disassociateNode, reportWorkflows, changeNodeRole, setPolicy, moveSlots, drainCluster, resumeCluster,
            moveRuns, drainNode, beginMigration, confirmDeparture, recoverCluster
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .registerNode(let node):
            number = .registerNode
            node.write(to: &writer)
        case .removeNode(let node, let instance):
            number = .removeNode
            writer.varint(1, node.rawValue)
            writer.fixed64(2, instance ?? 0)
        case .createCommonCluster: number = .createCommonCluster
        case .beginMigration: number = .beginMigration
        case .raiseFeatureLevel(let level):
            number = .raiseFeatureLevel
            writer.varint(1, UInt64(level))
        case .createCluster(let creation):
            number = .createCluster
            creation.write(to: &writer)
        case .destroyCluster(let cluster, let epoch, let isForced):
            number = .destroyCluster
            ClusterChange(cluster: cluster, count: epoch, flag: isForced).write(to: &writer)
        case .associateNode(let cluster, let node, let role):
            number = .associateNode
            ClusterChange(cluster: cluster, node: node, count: UInt64(role.rawValue)).write(to: &writer)
        case .disassociateNode(let cluster, let node):
            number = .disassociateNode
            ClusterChange(cluster: cluster, node: node).write(to: &writer)
        case .reportWorkflows(let report):
            number = .reportWorkflows
            report.write(to: &writer)
        case .changeNodeRole(let node, let role):
            number = .changeNodeRole
            writer.varint(1, node.rawValue)
            writer.varint(2, UInt64(role.rawValue))
        case .setPolicy(let policy):
            number = .setPolicy
            policy.write(to: &writer)
        case .moveSlots(let move):
            number = .moveSlots
            move.write(to: &writer)
        case .drainCluster(let cluster, let successor):
            number = .drainCluster
            ClusterChange(cluster: cluster, other: successor).write(to: &writer)
        case .resumeCluster(let cluster):
            number = .resumeCluster
            ClusterChange(cluster: cluster).write(to: &writer)
        case .moveRuns(let from, let to, let count):
            number = .moveRuns
            ClusterChange(cluster: from, other: to, count: UInt64(count)).write(to: &writer)
        case .recoverCluster(let recovery):
            number = .recoverCluster
            recovery.write(to: &writer)
        case .confirmDeparture(let departure):
            number = .confirmDeparture
            departure.write(to: &writer)
        case .drainNode(let node, let isDraining):
            number = .drainNode
            writer.varint(1, node.rawValue)
            writer.bool(2, isDraining)
        }
        return Operation(type: number.rawValue, version: Self.version, body: writer.bytes)
    }

    /// - Throws: what stops the group on this node: a number, version or field of a newer binary, or damage.
    init(_ operation: Operation) throws(ApplyError) {
        guard let number = Number(rawValue: operation.type) else {
            throw ApplyError(
                .unknownCommand, "management operation \(operation.type) is unknown; upgrade this node")
        }
        guard operation.version == Self.version else {
            throw ApplyError(
                .unknownVersion, "version \(operation.version) of '\(number)' is unknown; upgrade this node")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            self = try Self.read(number, from: &reader)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    private static func read(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> ManagementOperation {
        switch number {
        case .registerNode: return .registerNode(try ManagementStateMachine.Node(from: &reader))
        case .createCommonCluster, .beginMigration:
            if try reader.next() != nil { throw reader.unknownField(in: "\(number)") }
            return number == .beginMigration ? .beginMigration : .createCommonCluster
        case .createCluster: return .createCluster(try ClusterCreation(from: &reader))
        case .reportWorkflows: return .reportWorkflows(try WorkflowReport(from: &reader))
        case .setPolicy: return .setPolicy(try ExecutionClusterPolicy(from: &reader))
        case .moveSlots: return .moveSlots(try SlotMove(from: &reader))
        case .recoverCluster: return .recoverCluster(try ClusterRecovery(from: &reader))
        case .confirmDeparture: return .confirmDeparture(try Departure(from: &reader))
        case .removeNode, .raiseFeatureLevel, .changeNodeRole, .drainNode:
            return try readNodeOperation(number, from: &reader)
        case .destroyCluster, .associateNode, .disassociateNode, .drainCluster, .resumeCluster, .moveRuns:
            return try readClusterOperation(number, from: &reader)
        }
    }

    private static func readNodeOperation(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> ManagementOperation {
        var (first, second) = (UInt64(0), UInt64(0))
        var instance: UInt64?
        while let field = try reader.next() {
            switch (field, number) {
            case (1, _): first = try reader.varint()
            case (2, .removeNode): instance = try reader.fixed64()
            case (2, .changeNodeRole), (2, .drainNode): second = try reader.varint()
            default: throw reader.unknownField(in: "\(number)")
            }
        }
        switch number {
        case .removeNode: return .removeNode(NodeID(first), instance: instance)
        case .drainNode: return .drainNode(NodeID(first), isDraining: second != 0)
        case .raiseFeatureLevel: return .raiseFeatureLevel(UInt32(clamping: first))
        case .changeNodeRole:
            guard let role = NodeRole(rawValue: UInt32(clamping: second)) else {
                throw WireError(.invalidValue, "a node has role \(second)")
            }
            return .changeNodeRole(NodeID(first), role)
        default: preconditionFailure("'\(number)' is not about a node")
        }
    }

    private static func readClusterOperation(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> ManagementOperation {
        let change = try ClusterChange(from: &reader, "\(number)")
        let (cluster, node) = (change.cluster, change.node)
        switch number {
        case .destroyCluster: return .destroyCluster(cluster, sealEpoch: change.count, isForced: change.flag)
        case .disassociateNode: return .disassociateNode(cluster, node)
        case .drainCluster: return .drainCluster(cluster, into: change.other)
        case .resumeCluster: return .resumeCluster(cluster)
        case .associateNode:
            guard let role = ExecutionCluster.MemberRole(rawValue: UInt32(clamping: change.count)) else {
                throw WireError(.invalidValue, "a member has role \(change.count)")
            }
            return .associateNode(cluster, node, role)
        case .moveRuns:
            guard let target = change.other else { throw WireError(.invalidValue, "runs move to no cluster") }
            return .moveRuns(from: cluster, to: target, count: Int(clamping: change.count))
        default: preconditionFailure("'\(number)' is not about a cluster")
        }
    }
}
