import FlotillaIO
import FlotillaRaft

extension LogHeads {
    init(_ bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case Field.write:
                var head = try reader.message()
                writes.append(try Write(from: &head))
            case Field.replica:
                var head = try reader.message()
                replicas.append(try Replica(from: &head))
            case Field.removed:
                var head = try reader.message()
                removed.append(try ReplicaIdentity(from: &head))
            case Field.copy:
                var head = try reader.message()
                copies.append(try Copy(from: &head))
            default: throw reader.unknownField(in: "LogHeads")
            }
        }
    }

    /// The entries of a body, for each of `claims`; nil where the body does not match the claim's checksum.
    func entries(in body: ArraySlice<UInt8>) throws(WireError) -> [LoggedEntries?] {
        let claims = claims.map(\.claim)
        guard claims.reduce(0, { $0 + $1.bytes }) == body.count else {
            throw WireError(.invalidValue, "a body of \(body.count) bytes, which is not what the heads claim")
        }
        var rest = body
        var result: [LoggedEntries?] = []
        for claim in claims {
            let part = rest.prefix(claim.bytes)
            rest = rest.dropFirst(claim.bytes)
            result.append(CRC32C.checksum(part) == claim.checksum ? try claim.entries(in: Array(part)) : nil)
        }
        return result
    }

    /// The entries of one replica in a body; nil where some of them are damaged.
    func entries(of key: LogKey, in body: ArraySlice<UInt8>) throws(WireError) -> LoggedEntries? {
        var rest = body
        var found = LoggedEntries()
        for item in claims {
            let part = rest.prefix(item.claim.bytes)
            rest = rest.dropFirst(item.claim.bytes)
            guard item.key == key else { continue }
            guard CRC32C.checksum(part) == item.claim.checksum else { return nil }
            let own = try item.claim.entries(in: Array(part))
            found.entries += own.entries
            found.payloads += own.payloads
        }
        return found
    }
}

extension LoggedEntries {
    fileprivate mutating func appendWithFile(from reader: inout ProtobufReader) throws(WireError) {
        var entry: Entry?
        var hash: SHA256Digest?
        var byteCount: UInt64 = 0
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                entry = try Entry(from: &inner, unknownFields: .reject)
            case 2: hash = SHA256Digest(try reader.bytes())
            case 3: byteCount = try reader.varint()
            default: throw reader.unknownField(in: "LogBody.EntryWithFile")
            }
        }
        guard let entry, entry.payload.isEmpty, let hash, let byteCount = Int(exactly: byteCount) else {
            throw WireError(.invalidValue, "an entry that does not say where its payload is")
        }
        entries.append(entry)
        payloads.append(
            FiledPayload(index: entry.index, reference: PayloadReference(hash: hash, byteCount: byteCount)))
    }
}

extension LogHeads.Claim {
    fileprivate func entries(in bytes: [UInt8]) throws(WireError) -> LoggedEntries {
        var reader = ProtobufReader(bytes)
        var logged = LoggedEntries()
        for offset in 0..<count {
            guard let field = try reader.next() else {
                throw WireError(.truncated, "the body holds fewer entries than the heads claim")
            }
            var inner = try reader.message()
            switch field {
            case LogHeads.BodyField.entry: logged.entries.append(try Entry(from: &inner, unknownFields: .reject))
            case LogHeads.BodyField.entryWithFile: try logged.appendWithFile(from: &inner)
            default: throw reader.unknownField(in: "LogBody")
            }
            let index = logged.entries[offset].index
            guard index == first + offset else {
                throw WireError(.invalidValue, "entry \(index) where \(first + offset) belongs")
            }
        }
        guard reader.isAtEnd else {
            throw WireError(.invalidValue, "the body holds more entries than the heads claim")
        }
        return logged
    }

    /// As it is read, field by field.
    fileprivate struct Fields {
        var first: UInt64 = 0
        var count: UInt64 = 0
        var bytes: UInt64 = 0
        var checksum: UInt32 = 0

        func claim() throws(WireError) -> LogHeads.Claim {
            let maximum = UInt64(LogFormat.maximumBatchBytes)
            guard first > 0, count > 0, count <= maximum, bytes <= maximum,
                !first.addingReportingOverflow(count).overflow
            else { throw WireError(.invalidValue, "\(count) entries of \(bytes) bytes from index \(first) on") }
            return LogHeads.Claim(first: LogIndex(first), count: Int(count), bytes: Int(bytes), checksum: checksum)
        }
    }
}

extension LogHeads.Write {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        write = LogBatch.Write(group: GroupID(0), incarnation: 0)
        var fields = LogHeads.Claim.Fields()
        var baseIndex: LogIndex?
        var baseTerm = Term.zero
        while let field = try reader.next() {
            switch field {
            case 1: write.group = GroupID(try reader.varint())
            case 2: write.incarnation = try reader.varint()
            case 3:
                var inner = try reader.message()
                write.created = try ReplicaIdentity(from: &inner)
            case 4:
                var inner = try reader.message()
                write.hardState = try HardState(from: &inner, unknownFields: .reject)
            case 5:
                var inner = try reader.message()
                write.snapshot = try SnapshotMetadata(from: &inner, unknownFields: .reject)
            case 6: fields.first = try reader.varint()
            case 7: fields.count = try reader.varint()
            case 8: write.isRemoved = try reader.bool()
            case 9: keepsTail = try reader.bool()
            case 10: fields.bytes = try reader.varint()
            case 11: fields.checksum = try reader.uint32()
            case 12: baseIndex = LogIndex(try reader.varint())
            case 13: baseTerm = Term(try reader.varint())
            default: throw reader.unknownField(in: "LogHeads.Write")
            }
        }
        claim = fields.first == 0 && fields.count == 0 ? nil : try fields.claim()
        base = baseIndex.map { LogPosition(index: $0, term: baseTerm) }
    }
}

extension LogHeads.Replica {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var identity: ReplicaIdentity?
        hardState = HardState()
        last = .zero
        var baseIndex: LogIndex?
        var baseTerm = Term.zero
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                identity = try ReplicaIdentity(from: &inner)
            case 2:
                var inner = try reader.message()
                hardState = try HardState(from: &inner, unknownFields: .reject)
            case 3:
                var inner = try reader.message()
                snapshot = try SnapshotMetadata(from: &inner, unknownFields: .reject)
            case 4: last = LogIndex(try reader.varint())
            case 5: recoveringUntil = LogIndex(try reader.varint())
            case 6: baseIndex = LogIndex(try reader.varint())
            case 7: baseTerm = Term(try reader.varint())
            default: throw reader.unknownField(in: "LogHeads.Replica")
            }
        }
        guard let identity else { throw WireError(.invalidValue, "a replica without an identity") }
        self.identity = identity
        base = baseIndex.map { LogPosition(index: $0, term: baseTerm) } ?? snapshot?.position ?? .zero
        if let snapshot, snapshot.index < base.index {
            throw WireError(
                .invalidValue, "a log that begins at \(base.index), behind its snapshot at \(snapshot.index)")
        }
        if let snapshot, last < snapshot.index {
            throw WireError(
                .invalidValue,
                "a log that ends at \(last), before its snapshot at \(snapshot.index)")
        }
    }
}

extension LogHeads.Copy {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        key = LogKey(group: GroupID(0), incarnation: 0)
        var fields = LogHeads.Claim.Fields()
        while let field = try reader.next() {
            switch field {
            case 1: key.group = GroupID(try reader.varint())
            case 2: key.incarnation = try reader.varint()
            case 3: fields.first = try reader.varint()
            case 4: fields.count = try reader.varint()
            case 5: fields.bytes = try reader.varint()
            case 6: fields.checksum = try reader.uint32()
            default: throw reader.unknownField(in: "LogHeads.Copy")
            }
        }
        claim = try fields.claim()
    }
}
