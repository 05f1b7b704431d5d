import FlotillaIO
import FlotillaRaft

/// A small file that is replaced as a whole: magic (8 bytes), version u32, length u64, payload, checksum u32 of all
/// before it, seeded with what the file is for.
struct SealedFile {
    static let identity = SealedFile(magic: "FLOTIDEN")
    static let boot = SealedFile(magic: "FLOTBOOT")
    static let clean = SealedFile(magic: "FLOTCLEN")
    /// The checksum is seeded with the snapshot's name, so that one cannot pass for another.
    static func snapshot(_ name: SnapshotName) -> SealedFile {
        SealedFile(magic: "FLOTSNAP", seed: CRC32C.checksum(Array(name.fileName.utf8)))
    }

    static let temporarySuffix = ".tmp"
    private static let headerBytes = 20

    private let magic: [UInt8]
    private let seed: UInt32

    private init(magic: String, seed: UInt32 = 0) {
        self.magic = Array(magic.utf8)
        self.seed = seed
    }

    /// Durable on return.
    func write(_ payload: [UInt8], to name: String, in directory: String, files: any FileSystem)
        throws(FileError)
    {
        var bytes = magic
        bytes.reserveCapacity(Self.headerBytes + payload.count + LogFormat.checksumBytes)
        bytes.append(littleEndian: LogFormat.version)
        bytes.append(littleEndian: UInt64(payload.count))
        bytes.append(contentsOf: payload)
        bytes.append(littleEndian: CRC32C.checksum(bytes, seed: seed))
        try files.writeWhole(bytes, to: name, in: directory)
    }

    func read(_ path: String, files: any FileSystem) throws(LogError) -> [UInt8] {
        var bytes: [UInt8]
        do {
            bytes = try files.readWhole(path)
        } catch {
            throw .io(error)
        }
        guard bytes.count >= Self.headerBytes + LogFormat.checksumBytes, bytes.starts(with: magic)
        else {
            throw .damaged(
                path, at: 0, "it is not a \(String(decoding: magic, as: UTF8.self)) file")
        }
        let version = bytes.littleEndian32(at: 8)
        guard version == LogFormat.version else {
            throw LogError(
                .unknownVersion,
                "\(path) has format version \(version); this version reads \(LogFormat.version): "
                    + "run the version of Flotilla that wrote it, or a newer one")
        }
        let end = bytes.count - LogFormat.checksumBytes
        guard bytes.littleEndian64(at: 12) == UInt64(end - Self.headerBytes),
            bytes.littleEndian32(at: end) == CRC32C.checksum(bytes[..<end], seed: seed)
        else { throw .damaged(path, at: 0, "it does not match its length and checksum") }
        bytes.removeSubrange(end...)
        bytes.removeSubrange(..<Self.headerBytes)
        return bytes
    }
}

extension FileSystem {
    /// Writes a new file aside, syncs it, gives it its name and syncs the directory: after a crash the name stands for
    /// the old content or for all of the new one.
    func writeWhole(_ bytes: [UInt8], to name: String, in directory: String) throws(FileError) {
        let path = "\(directory)/\(name)"
        let temporary = mutated(.writesFilesInPlace) ? path : path + SealedFile.temporarySuffix
        let file = try open(temporary, create: true)
        try file.truncate(to: 0)
        try file.write(bytes, at: 0)
        try file.sync()
        try rename(temporary, to: name, in: directory)
    }

    /// Gives a file that is synced its name, durably.
    func rename(_ path: String, to name: String, in directory: String) throws(FileError) {
        try rename(path, to: "\(directory)/\(name)")
        if !mutated(.skipsDirectorySync) { try syncDirectory(directory) }
    }

    func readWhole(_ path: String) throws(FileError) -> [UInt8] {
        let file = try open(path, create: false)
        return try file.read(at: 0, count: Int(try file.size))
    }
}

/// What a snapshot's file is called.
struct SnapshotName: Hashable {
    var group: GroupID
    var incarnation: UInt64
    var index: LogIndex
    var term: Term

    private static let suffix = ".snap"

    init(group: GroupID, incarnation: UInt64, index: LogIndex, term: Term) {
        self.group = group
        self.incarnation = incarnation
        self.index = index
        self.term = term
    }

    /// Nil for any other file.
    init?(fileName: String) {
        guard fileName.hasSuffix(Self.suffix) else { return nil }
        let parts = fileName.dropLast(Self.suffix.count).split(
            separator: "-", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { UInt64($0) }
        guard parts.count == 4, numbers.count == 4 else { return nil }
        self.init(
            group: GroupID(numbers[0]), incarnation: numbers[1], index: LogIndex(numbers[2]),
            term: Term(numbers[3]))
        guard self.fileName == fileName else { return nil }
    }

    var fileName: String {
        "\(group.rawValue)-\(incarnation)-\(index.rawValue)-\(term.rawValue)" + Self.suffix
    }
}
