import FlotillaActors
import FlotillaIO
import FlotillaRaft

// The messages that commands and the state share; see Protos/management.proto. An unknown field is an error everywhere:
// all of this is replicated.

extension ClusterID {
    func write(to writer: inout ProtobufWriter) {
        writer.fixed64(1, high)
        writer.fixed64(2, low)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var inner = try reader.message()
        var (high, low) = (UInt64(0), UInt64(0))
        while let field = try inner.next() {
            switch field {
            case 1: high = try inner.fixed64()
            case 2: low = try inner.fixed64()
            default: throw inner.unknownField(in: "a cluster's id")
            }
        }
        self.init(high: high, low: low)
    }
}

extension ProtobufWriter {
    mutating func write(_ field: Int, _ cluster: ClusterID) { message(field) { cluster.write(to: &$0) } }
}

extension NodeLabel {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, key.text)
        writer.string(2, value.text)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var inner = try reader.message()
        var (key, value) = ("", "")
        while let field = try inner.next() {
            switch field {
            case 1: key = try inner.string()
            case 2: value = try inner.string()
            default: throw inner.unknownField(in: "a label")
            }
        }
        self.init(key, value)
    }
}

extension ManagementStateMachine.Node {
    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, node.rawValue)
        writer.fixed64(2, instance)
        writer.string(3, address)
        writer.string(4, httpAddress)
        writer.varint(5, UInt64(featureLevel))
        writer.signed(6, joinedAt)
        for label in labels { writer.message(7) { label.write(to: &$0) } }
        writer.varint(8, UInt64(role.rawValue))
        writer.bool(9, isDraining)
        for type in types { writer.message(10) { type.write(to: &$0) } }
        writer.varint(11, UInt64(wantedRole?.rawValue ?? 0))
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(node: NodeID(0), instance: 0, address: "", httpAddress: "", featureLevel: 0, joinedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: node = NodeID(try reader.varint())
            case 2: instance = try reader.fixed64()
            case 3: address = try reader.string()
            case 4: httpAddress = try reader.string()
            case 5: featureLevel = try reader.uint32()
            case 6: joinedAt = try reader.signed()
            case 7: labels.append(try NodeLabel(from: &reader))
            case 8: role = try NodeRole(from: &reader)
            case 9: isDraining = try reader.bool()
            case 10:
                var inner = try reader.message()
                types.append(try WorkflowType(from: &inner))
            case 11: wantedRole = try NodeRole(from: &reader)
            default: throw reader.unknownField(in: "a node")
            }
        }
    }
}

extension NodeRole {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        let number = try reader.uint32()
        guard let role = NodeRole(rawValue: number) else {
            throw WireError(.invalidValue, "a node has role \(number)")
        }
        self = role
    }
}

extension ClusterCreation {
    func write(to writer: inout ProtobufWriter) {
        writer.write(1, cluster)
        writer.varint(2, incarnation)
        writer.packed(3, founders.map(\.rawValue))
        if let pinnedType { writer.stringAlways(4, pinnedType.text) }
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(cluster: ClusterID(high: 0, low: 0), incarnation: 0, founders: [])
        var nodes: [UInt64] = []
        while let field = try reader.next() {
            switch field {
            case 1: cluster = try ClusterID(from: &reader)
            case 2: incarnation = try reader.varint()
            case 3: try reader.packed(into: &nodes)
            case 4: pinnedType = ByteText(try reader.string())
            default: throw reader.unknownField(in: "a cluster's creation")
            }
        }
        founders = nodes.map(NodeID.init)
    }
}

/// What the short commands about a cluster consist of.
struct ClusterChange {
    var cluster: ClusterID
    var node = NodeID(0)
    var other: ClusterID?
    var count: UInt64 = 0
    var flag = false

    init(
        cluster: ClusterID, node: NodeID = NodeID(0), other: ClusterID? = nil, count: UInt64 = 0, flag: Bool = false
    ) {
        self.cluster = cluster
        self.node = node
        self.other = other
        self.count = count
        self.flag = flag
    }

    func write(to writer: inout ProtobufWriter) {
        writer.write(1, cluster)
        writer.varint(2, node.rawValue)
        if let other { writer.write(3, other) }
        writer.varint(4, count)
        writer.bool(5, flag)
    }

    init(from reader: inout ProtobufReader, _ what: String) throws(WireError) {
        self.init(cluster: ClusterID(high: 0, low: 0))
        while let field = try reader.next() {
            switch field {
            case 1: cluster = try ClusterID(from: &reader)
            case 2: node = NodeID(try reader.varint())
            case 3: other = try ClusterID(from: &reader)
            case 4: count = try reader.varint()
            case 5: flag = try reader.bool()
            default: throw reader.unknownField(in: what)
            }
        }
    }
}

extension SlotMove {
    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, version)
        writer.packed(2, slots.map { UInt64(truncatingIfNeeded: $0) })
        writer.varint(3, home.rawValue)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var numbers: [UInt64] = []
        self.init(version: 0, slots: [], home: GroupID(0))
        while let field = try reader.next() {
            switch field {
            case 1: version = try reader.varint()
            case 2: try reader.packed(into: &numbers)
            case 3: home = GroupID(try reader.varint())
            default: throw reader.unknownField(in: "a change of the slot map")
            }
        }
        slots = numbers.map { Int(clamping: $0) }
    }
}

extension ClusterRecovery {
    func write(to writer: inout ProtobufWriter) {
        writer.write(1, cluster)
        writer.varint(2, incarnation)
        writer.varint(3, survivor.rawValue)
        writer.packed(4, members.map(\.rawValue))
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(cluster: ClusterID(high: 0, low: 0), incarnation: 0, survivor: NodeID(0), members: [])
        var nodes: [UInt64] = []
        while let field = try reader.next() {
            switch field {
            case 1: cluster = try ClusterID(from: &reader)
            case 2: incarnation = try reader.varint()
            case 3: survivor = NodeID(try reader.varint())
            case 4: try reader.packed(into: &nodes)
            default: throw reader.unknownField(in: "the recovery of a cluster")
            }
        }
        members = nodes.map(NodeID.init)
    }
}

extension Departure {
    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, node.rawValue)
        writer.varint(2, group.rawValue)
        writer.varint(3, number)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(node: NodeID(0), group: GroupID(0), number: 0)
        while let field = try reader.next() {
            switch field {
            case 1: node = NodeID(try reader.varint())
            case 2: group = GroupID(try reader.varint())
            case 3: number = try reader.varint()
            default: throw reader.unknownField(in: "a departure")
            }
        }
    }
}

extension ExecutionClusterPolicy {
    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, UInt64(max(0, maximumWorkflowsPerCluster)))
        writer.varint(2, UInt64(max(0, targetClusterSize)))
        writer.varint(3, UInt64(strategy.rawValue))
        writer.fixed64(4, rebalanceThreshold.bitPattern)
        writer.signed(5, idleTimeToLive.clampedNanoseconds)
        writer.varint(6, UInt64(max(0, readyClusters)))
        writer.fixed64(7, loadLimit.bitPattern)
        writer.signed(8, memberFailureTimeout.clampedNanoseconds)
        writer.string(9, spreadLabel)
        for type in pins.sorted() { writer.stringAlways(10, type.text) }
        if let targetVoterCount { writer.varintAlways(11, UInt64(max(0, targetVoterCount))) }
        switch voterSelection {
        case .automatic: break
        case .fixed(let nodes): writer.message(12) { $0.packed(1, nodes.map(\.rawValue)) }
        case .labelled(let label): writer.message(13) { label.write(to: &$0) }
        }
        writer.varint(14, UInt64(max(0, singleClusterBelow)))
        writer.signed(15, voterFailureTimeout.clampedNanoseconds)
        writer.signed(16, rebalancePeriod.clampedNanoseconds)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        (maximumWorkflowsPerCluster, targetClusterSize, readyClusters, singleClusterBelow) = (0, 0, 0, 0)
        (rebalanceThreshold, loadLimit, spreadLabel) = (0, 0, "")
        (idleTimeToLive, memberFailureTimeout, voterFailureTimeout) = (.zero, .zero, .zero)
        rebalancePeriod = .zero
        while let field = try reader.next() {
            switch field {
            case 1: maximumWorkflowsPerCluster = Int(clamping: try reader.varint())
            case 2: targetClusterSize = Int(clamping: try reader.varint())
            case 3:
                let number = try reader.uint32()
                guard let strategy = SelectionStrategy(rawValue: number) else {
                    throw WireError(.invalidValue, "there is no strategy \(number)")
                }
                self.strategy = strategy
            case 4: rebalanceThreshold = Double(bitPattern: try reader.fixed64())
            case 5: idleTimeToLive = .nanoseconds(try reader.signed())
            case 6: readyClusters = Int(clamping: try reader.varint())
            case 7: loadLimit = Double(bitPattern: try reader.fixed64())
            case 8: memberFailureTimeout = .nanoseconds(try reader.signed())
            case 9: spreadLabel = try reader.string()
            case 10: pins.insert(ByteText(try reader.string()))
            case 11: targetVoterCount = Int(clamping: try reader.varint())
            case 12:
                var inner = try reader.message()
                var nodes: [UInt64] = []
                while let field = try inner.next() {
                    guard field == 1 else { throw inner.unknownField(in: "a choice of voters") }
                    try inner.packed(into: &nodes)
                }
                voterSelection = .fixed(nodes.map(NodeID.init))
            case 13: voterSelection = .labelled(try NodeLabel(from: &reader))
            case 14: singleClusterBelow = Int(clamping: try reader.varint())
            case 15: voterFailureTimeout = .nanoseconds(try reader.signed())
            case 16: rebalancePeriod = .nanoseconds(try reader.signed())
            default: throw reader.unknownField(in: "a policy")
            }
        }
    }
}
