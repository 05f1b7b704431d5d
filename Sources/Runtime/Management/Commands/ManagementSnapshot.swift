import FlotillaActors
import FlotillaIO
import FlotillaRaft

// The management state as bytes: `State` in Protos/management.proto. Everything in a fixed order, so that equal states
// give equal bytes; what is computed is left out.

extension ManagementState: SnapshotView {
    func serialize() -> [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, UInt64(featureLevel))
        for (_, node) in nodes.sorted(by: { $0.key < $1.key }) { writer.message(2) { node.write(to: &$0) } }
        writer.message(4) { policy.write(to: &$0) }
        writer.varint(5, slots.version)
        for run in slots.runs {
            writer.message(6) { writer in
                writer.varint(1, UInt64(run.count))
                writer.varint(2, run.slot.home.rawValue)
                writer.varint(3, run.slot.epoch)
                writer.varint(4, run.slot.former.rawValue)
            }
        }
        writer.varint(7, nextGroup.rawValue)
        for (_, cluster) in clusters.sorted() { writer.message(8) { cluster.write(to: &$0) } }
        for (node, groups) in departing.sorted(by: { $0.key < $1.key }) {
            for (group, number) in groups.sorted(by: { $0.key < $1.key }) {
                writer.message(9) { Departure(node: node, group: group, number: number).write(to: &$0) }
            }
        }
        writer.varint(10, nextDeparture)
        writer.varint(11, surrenders)
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        self.init()
        var reader = ProtobufReader(bytes)
        var slotVersion: UInt64 = 0
        var slotRuns: [SlotMap.Run] = []
        while let field = try reader.next() {
            switch field {
            case 1: featureLevel = try reader.uint32()
            case 2:
                var inner = try reader.message()
                let node = try ManagementStateMachine.Node(from: &inner)
                nodes[node.node] = node
            case 4:
                var inner = try reader.message()
                policy = try ExecutionClusterPolicy(from: &inner)
            case 5: slotVersion = try reader.varint()
            case 6: slotRuns.append(try SlotMap.Run(from: &reader))
            case 7: nextGroup = GroupID(try reader.varint())
            case 8:
                let cluster = try ExecutionCluster(from: &reader)
                clusters.insert(cluster, for: cluster.id)
                clustersByGroup[cluster.group] = cluster.id
                for node in cluster.members.keys { memberships[node, default: []].insert(cluster.id) }
                for (key, _) in cluster.runs.members { locations.insert(cluster.id, for: key) }
            case 9:
                var inner = try reader.message()
                let departure = try Departure(from: &inner)
                departing[departure.node, default: [:]][departure.group] = departure.number
            case 10: nextDeparture = try reader.varint()
            case 11: surrenders = try reader.varint()
            default: throw reader.unknownField(in: "the management state")
            }
        }
        guard let slots = SlotMap(version: slotVersion, runs: slotRuns) else {
            throw WireError(.invalidValue, "the slot map does not have \(SlotMap.count) slots")
        }
        self.slots = slots
        if let violation { throw WireError(.invalidValue, violation) }
    }
}

extension SlotMap.Run {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var inner = try reader.message()
        self.init(count: 0, slot: SlotMap.Slot(home: GroupID(0), epoch: 0))
        while let field = try inner.next() {
            switch field {
            case 1: count = Int(clamping: try inner.varint())
            case 2: slot.home = GroupID(try inner.varint())
            case 3: slot.epoch = try inner.varint()
            case 4: slot.former = GroupID(try inner.varint())
            default: throw inner.unknownField(in: "the slot map")
            }
        }
    }
}

extension ExecutionCluster {
    fileprivate func write(to writer: inout ProtobufWriter) {
        let creation = ClusterCreation(
            cluster: id, incarnation: incarnation, founders: founders, pinnedType: pinnedType)
        writer.message(1) { creation.write(to: &$0) }
        writer.varint(2, group.rawValue)
        writer.signed(3, createdAt)
        for (node, member) in members.sorted(by: { $0.key < $1.key }) {
            writer.message(4) { writer in
                writer.varint(1, node.rawValue)
                writer.varint(2, UInt64(member.role.rawValue))
                writer.bool(3, member.isFounder)
            }
        }
        switch phase {
        case .active: break
        case .draining(let successor):
            writer.message(5) { writer in
                if let successor { writer.write(1, successor) }
            }
        case .sealed(let epoch): writer.varintAlways(6, epoch)
        }
        writer.varint(7, drainEpoch)
        writer.varint(8, reportedThrough.rawValue)
        if let idleSince { writer.varintAlways(9, UInt64(bitPattern: idleSince)) }
        for (target, count) in outgoing.sorted(by: { $0.key < $1.key }) {
            writer.message(10) { ClusterChange(cluster: target, count: UInt64(count)).write(to: &$0) }
        }
        for (key, run) in runs.sorted() { writer.message(11) { run.write(key, to: &$0) } }
        writer.bool(12, spansFleet)
        if let survivor { writer.varintAlways(13, survivor.rawValue) }
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var inner = try reader.message()
        // The creation stands first.
        guard try inner.next() == 1 else {
            throw WireError(.invalidValue, "a cluster does not begin with its creation")
        }
        var text = try inner.message()
        self.init(try ClusterCreation(from: &text), group: GroupID(0), createdAt: 0)
        while let field = try inner.next() {
            switch field {
            case 2: group = GroupID(try inner.varint())
            case 3: createdAt = try inner.signed()
            case 4:
                let (node, member) = try Member.read(from: &inner)
                members[node] = member
            case 5:
                var nested = try inner.message()
                phase = .draining(into: try nested.next() == nil ? nil : try ClusterID(from: &nested))
            case 6: phase = .sealed(epoch: try inner.varint())
            case 7: drainEpoch = try inner.varint()
            case 8: reportedThrough = LogIndex(try inner.varint())
            case 9: idleSince = Int64(bitPattern: try inner.varint())
            case 10:
                var nested = try inner.message()
                let order = try ClusterChange(from: &nested, "a cluster")
                outgoing[order.cluster] = Int(clamping: order.count)
            case 11:
                let (key, run) = try LocatedRun.read(from: &inner)
                insert(run, for: key)
            case 12: spansFleet = try inner.bool()
            case 13: survivor = NodeID(try inner.varint())
            default: throw inner.unknownField(in: "a cluster")
            }
        }
    }
}

extension ExecutionCluster.Member {
    fileprivate static func read(
        from reader: inout ProtobufReader
    ) throws(WireError) -> (NodeID, ExecutionCluster.Member) {
        var inner = try reader.message()
        var node = NodeID(0)
        var member = Self(role: .learner, isFounder: false)
        while let field = try inner.next() {
            switch field {
            case 1: node = NodeID(try inner.varint())
            case 2:
                let number = try inner.uint32()
                guard let role = ExecutionCluster.MemberRole(rawValue: number) else {
                    throw WireError(.invalidValue, "a member has role \(number)")
                }
                member.role = role
            case 3: member.isFounder = try inner.bool()
            default: throw inner.unknownField(in: "a member")
            }
        }
        return (node, member)
    }
}
