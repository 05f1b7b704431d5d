import FlotillaIO
import FlotillaRaft

/// The files beside the segments.
extension DiskLog {
    // MARK: Identity and boot counter

    func readIdentity() throws(LogError) -> NodeIdentity? {
        let path = "\(directory)/\(Self.identityName)"
        guard files.exists(path) else { return nil }
        let bytes = try SealedFile.identity.read(path, files: files)
        return try decoding(path) { () throws(WireError) in try NodeIdentity(bytes) }
    }

    func persist(_ identity: NodeIdentity) throws(LogError) {
        if let known = self.identity {
            precondition(
                known.canBecome(identity), "\(directory) belongs to \(known); it cannot become \(identity)")
            if known == identity { return }
        }
        try io { () throws(FileError) in
            try SealedFile.identity.write(
                identity.encoded, to: Self.identityName, in: directory, files: files)
        }
        self.identity = identity
    }

    /// How often the directory was opened before.
    func readBoot() throws(LogError) -> UInt64 {
        let path = "\(directory)/\(Self.bootName)"
        guard files.exists(path) else {
            guard identity == nil else { throw .missing(path, "the directory has an identity") }
            return firstBoot - 1
        }
        let bytes = try SealedFile.boot.read(path, files: files)
        return try decoding(path) { () throws(WireError) in
            var reader = ProtobufReader(bytes)
            guard try reader.next() == 1 else {
                throw WireError(.invalidValue, "it holds no counter")
            }
            let boot = try reader.varint()
            guard reader.isAtEnd, boot < .max else {
                throw WireError(.invalidValue, "it holds more than a counter")
            }
            return boot
        }
    }

    func writeBoot(_ boot: UInt64) throws(FileError) {
        var writer = ProtobufWriter()
        writer.varint(1, boot)
        try SealedFile.boot.write(writer.bytes, to: Self.bootName, in: directory, files: files)
    }

    /// A marker that cannot be read still says that the log was closed in order; where it ended is lost, so nobody
    /// can say any more that nothing is missing.
    func readMarker() throws(LogError) -> CleanMarker? {
        let path = "\(directory)/\(CleanMarker.fileName)"
        guard files.exists(path) else { return nil }
        let bytes = try SealedFile.clean.read(path, files: files)
        return try decoding(path) { () throws(WireError) in try CleanMarker(bytes) }
    }

    private func decoding<R>(_ path: String, _ body: () throws(WireError) -> R) throws(LogError)
        -> R
    {
        do {
            return try body()
        } catch {
            throw .damaged(path, at: 0, "it cannot be decoded (\(error))")
        }
    }

    /// Removes the unfinished files that a crash left behind.
    func removeLeftovers() throws(FileError) {
        for place in [directory, logDirectory, payloads.path] {
            for name in try files.list(place) where name.hasSuffix(SealedFile.temporarySuffix) {
                try files.remove("\(place)/\(name)")
            }
        }
    }
}

extension LogTable {
    var recoveredGroups: [RecoveredLog.Group] {
        replicas.sorted.map { replica in
            RecoveredLog.Group(
                replica: replica.identity, hardState: replica.hardState, snapshot: replica.snapshot,
                outline: replica.outline, recoveringUntil: replica.recoveringUntil)
        }
    }
}

extension NodeIdentity {
    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, cluster)
        writer.varint(2, node.rawValue)
        writer.varint(3, instance)
        return writer.bytes
    }

    init(_ bytes: [UInt8]) throws(WireError) {
        self.init(cluster: 0, node: NodeID(0), instance: 0)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: cluster = try reader.varint()
            case 2: node = NodeID(try reader.varint())
            case 3: instance = try reader.varint()
            default: throw reader.unknownField(in: "NodeIdentity")
            }
        }
    }
}
