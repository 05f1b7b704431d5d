import FlotillaIO
import FlotillaRaft

/// Which life of which group a record belongs to.
struct LogKey: Hashable, Comparable {
    var group: GroupID
    var incarnation: UInt64

    init(group: GroupID, incarnation: UInt64) {
        self.group = group
        self.incarnation = mutated(.ignoresIncarnationInLog) ? 0 : incarnation
    }

    static func < (a: LogKey, b: LogKey) -> Bool {
        (a.group, a.incarnation) < (b.group, b.incarnation)
    }
}

extension LogKey: CustomStringConvertible {
    var description: String { "\(group), incarnation \(incarnation)" }
}

/// Everything that a batch says but the entries themselves.
struct LogHeads {
    /// Entries that stand in the body. `count` is above zero, and the last index does not overflow.
    struct Claim: Hashable {
        var first: LogIndex
        var count: Int
        /// What they take there, and the checksum of that.
        var bytes = 0
        var checksum: UInt32 = 0

        var last: LogIndex { first + (count - 1) }
    }

    struct Write {
        /// Without its entries.
        var write: LogBatch.Write
        var claim: Claim?
        /// Whether the log held the snapshot's last entry, so that the entries behind it stay. Recorded, because a
        /// reader may lack the entry: its segment is deleted once a snapshot covers it.
        var keepsTail = false
        /// What stands right before the first entry that stays, where the snapshot covers some of those.
        var base: LogPosition?

        init(write: LogBatch.Write) { self.write = write }
        var key: LogKey { LogKey(group: write.group, incarnation: write.incarnation) }
        /// Where the log begins from now on, if the write has a snapshot.
        var newBase: LogPosition? { base ?? write.snapshot?.position }
    }

    /// A replica's state in a checkpoint.
    struct Replica {
        var identity: ReplicaIdentity
        var hardState: HardState
        var snapshot: SnapshotMetadata?
        /// What stands right before its first entry.
        var base: LogPosition
        var last: LogIndex
        var recoveringUntil: LogIndex?
    }

    struct Copy {
        var key: LogKey
        var claim: Claim
    }

    var writes: [Write] = []
    var replicas: [Replica] = []
    var removed: [ReplicaIdentity] = []
    var copies: [Copy] = []

    /// Whose entries the body holds, in its order.
    var claims: [(key: LogKey, claim: Claim)] {
        writes.compactMap { write in write.claim.map { (write.key, $0) } } + copies.map { ($0.key, $0.claim) }
    }
}

extension SnapshotMetadata {
    /// What the snapshot stands for in the log.
    var position: LogPosition { LogPosition(index: index, term: term) }
}

extension ReplicaIdentity {
    var key: LogKey { LogKey(group: group, incarnation: incarnation) }
}

// MARK: Encoding

extension LogHeads {
    /// The field numbers of the heads.
    enum Field {
        static let write = 1
        static let replica = 2
        static let removed = 3
        static let copy = 4
    }

    static func encode(_ item: Write, into writer: inout ProtobufWriter) {
        let write = item.write
        writer.message(Field.write) { head in
            head.varint(1, write.group.rawValue)
            head.varint(2, write.incarnation)
            if let created = write.created {
                head.message(3) { created.encode(into: &$0) }
            }
            if let hardState = write.hardState {
                head.message(4) { hardState.encode(into: &$0) }
            }
            if let snapshot = write.snapshot {
                head.message(5) { snapshot.encode(into: &$0) }
            }
            if let claim = item.claim {
                head.varint(6, claim.first.rawValue)
                head.varint(7, UInt64(claim.count))
                head.varint(10, UInt64(claim.bytes))
                head.varint(11, UInt64(claim.checksum))
            }
            head.bool(8, write.isRemoved)
            head.bool(9, item.keepsTail)
            if let base = item.base {
                head.varintAlways(12, base.index.rawValue)
                head.varint(13, base.term.rawValue)
            }
        }
    }

    static func encode(_ replica: Replica, into writer: inout ProtobufWriter) {
        writer.message(Field.replica) { head in
            head.message(1) { replica.identity.encode(into: &$0) }
            head.message(2) { replica.hardState.encode(into: &$0) }
            if let snapshot = replica.snapshot {
                head.message(3) { snapshot.encode(into: &$0) }
            }
            head.varint(4, replica.last.rawValue)
            if let until = replica.recoveringUntil { head.varintAlways(5, until.rawValue) }
            if let snapshot = replica.snapshot, replica.base != snapshot.position {
                head.varintAlways(6, replica.base.index.rawValue)
                head.varint(7, replica.base.term.rawValue)
            }
        }
    }

    static func encode(removed: ReplicaIdentity, into writer: inout ProtobufWriter) {
        writer.message(Field.removed) { removed.encode(into: &$0) }
    }

    static func encode(_ copy: Copy, into writer: inout ProtobufWriter) {
        writer.message(Field.copy) { head in
            head.varint(1, copy.key.group.rawValue)
            head.varint(2, copy.key.incarnation)
            head.varint(3, copy.claim.first.rawValue)
            head.varint(4, UInt64(copy.claim.count))
            head.varint(5, UInt64(copy.claim.bytes))
            head.varint(6, UInt64(copy.claim.checksum))
        }
    }

    /// No fewer bytes than a write takes in the heads besides its snapshot, an entry in the body besides its payload,
    /// and what names a payload there.
    static let writeSizeBound = 192
    static let entrySizeBound = 40
    static let payloadSizeBound = 64

    /// The field numbers of the body.
    enum BodyField {
        static let entry = 1
        /// An entry whose payload is in a file: 1 the entry without it, 2 the payload's SHA-256, 3 its length.
        static let entryWithFile = 2
    }

    /// Appends entries to a body.
    /// - Returns: what the heads say of them; nil if there are none.
    static func encode(_ logged: LoggedEntries, into body: inout ProtobufWriter) -> Claim? {
        guard let first = logged.entries.first else { return nil }
        let start = body.bytes.count
        var payloads = logged.payloads[...]
        for entry in logged.entries {
            guard let payload = payloads.first, payload.index == entry.index else {
                entry.encode(BodyField.entry, into: &body)
                continue
            }
            payloads.removeFirst()
            body.message(BodyField.entryWithFile) { outer in
                entry.encode(1, into: &outer)
                outer.bytes(2, payload.reference.hash.bytes)
                outer.varint(3, UInt64(payload.reference.byteCount))
            }
        }
        let checksum = body.bytes.withUnsafeBytes { CRC32C.checksum(.init(rebasing: $0[start...])) }
        return Claim(
            first: first.index, count: logged.entries.count, bytes: body.bytes.count - start, checksum: checksum)
    }
}

extension ReplicaIdentity {
    func encode(into writer: inout ProtobufWriter) {
        writer.varint(1, group.rawValue)
        writer.varint(2, incarnation)
        writer.varint(3, UInt64(kind.rawValue))
        writer.varint(4, replica.rawValue)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(group: GroupID(0), incarnation: 0, kind: GroupKind(0), replica: ReplicaID(0))
        while let field = try reader.next() {
            switch field {
            case 1: group = GroupID(try reader.varint())
            case 2: incarnation = try reader.varint()
            case 3: kind = GroupKind(try reader.uint32())
            case 4: replica = ReplicaID(try reader.varint())
            default: throw reader.unknownField(in: "ReplicaIdentity")
            }
        }
    }
}
