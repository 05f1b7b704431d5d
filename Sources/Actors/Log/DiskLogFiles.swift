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
            return 0
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

    // MARK: Snapshots

    func save(_ bytes: [UInt8], as name: SnapshotName) throws(LogError) {
        let path = "\(snapshotDirectory)/\(name.fileName)"
        do {
            try SealedFile.snapshot(name).write(bytes, to: name.fileName, in: snapshotDirectory, files: files)
        } catch {
            // Nothing names it yet, so that nothing is lost; what is left of it takes space that others may use.
            if error.isOutOfSpace { try? files.remove(path + SealedFile.temporarySuffix) }
            throw .growing(error)
        }
        snapshots.insert(name)
    }

    func load(_ name: SnapshotName) throws(LogError) -> [UInt8] {
        let path = "\(snapshotDirectory)/\(name.fileName)"
        guard snapshots.contains(name) else {
            throw LogError(
                .missing,
                "\(path) does not exist: no such snapshot was saved, or a newer one replaced it")
        }
        return try SealedFile.snapshot(name).read(path, files: files)
    }

    /// Notes which snapshots there are. Those that the log names must be among them.
    func findSnapshots() throws(LogError) {
        let names = try io { () throws(FileError) in try files.list(snapshotDirectory) }
        snapshots = Set(names.compactMap { SnapshotName(fileName: $0) })
        for name in table.snapshotNames where !snapshots.contains(name) {
            throw .missing("\(snapshotDirectory)/\(name.fileName)", "the log names it")
        }
    }

    /// Removes what a crash left behind: unfinished files, and snapshots that the log does not name.
    func removeLeftovers() throws(FileError) {
        for place in [directory, logDirectory, snapshotDirectory] {
            for name in try files.list(place) where name.hasSuffix(SealedFile.temporarySuffix) {
                try files.remove("\(place)/\(name)")
            }
        }
        try remove(snapshots.subtracting(table.snapshotNames))
    }

    /// Removes what a snapshot that is durably named, or the end of a replica, has made obsolete.
    func removeSnapshots(replacedBy batch: LogBatch) throws(LogError) {
        let ending = batch.writes.filter { $0.isRemoved || $0.snapshot != nil }
        let obsolete = snapshots.filter { name in ending.contains { name.isObsolete(after: $0) } }
        try io { () throws(FileError) in try remove(obsolete) }
    }

    /// Not synced: what comes back after a crash is removed again.
    private func remove(_ names: Set<SnapshotName>) throws(FileError) {
        for name in names.sorted(by: { $0.fileName < $1.fileName }) {
            try files.remove("\(snapshotDirectory)/\(name.fileName)")
            snapshots.remove(name)
        }
    }
}

extension LogTable {
    var recoveredGroups: [RecoveredLog.Group] {
        sortedReplicas.map { replica in
            RecoveredLog.Group(
                replica: replica.identity, hardState: replica.hardState, snapshot: replica.snapshot,
                entries: replica.entries, recoveringUntil: replica.recoveringUntil)
        }
    }

    /// The snapshots that the replicas start from.
    var snapshotNames: Set<SnapshotName> {
        Set(
            replicas.compactMap { key, replica in
                replica.snapshot.map { SnapshotName(key, $0) }
            })
    }
}

extension SnapshotName {
    init(_ key: LogKey, _ snapshot: SnapshotMetadata) {
        self.init(
            group: key.group, incarnation: key.incarnation, index: snapshot.index,
            term: snapshot.term)
    }

    /// Whether nobody needs this snapshot once `write` is durable.
    func isObsolete(after write: LogBatch.Write) -> Bool {
        guard group == write.group, incarnation == write.incarnation else { return false }
        return write.isRemoved || write.snapshot.map { index < $0.index } ?? false
    }
}

extension NodeIdentity {
    fileprivate var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, cluster)
        writer.varint(2, node.rawValue)
        writer.varint(3, instance)
        return writer.bytes
    }

    fileprivate init(_ bytes: [UInt8]) throws(WireError) {
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
