import FlotillaIO
import FlotillaRaft

/// A small file that is replaced as a whole: magic (8 bytes), version u32, length u64, payload, checksum u32 of all
/// before it.
struct SealedFile {
    static let identity = SealedFile(magic: "FLOTIDEN")
    static let boot = SealedFile(magic: "FLOTBOOT")
    static let clean = SealedFile(magic: "FLOTCLEN")
    static let moved = SealedFile(magic: "FLOTMOVD")

    static let temporarySuffix = ".tmp"
    private static let headerBytes = 20

    private let magic: [UInt8]

    private init(magic: String) { self.magic = Array(magic.utf8) }

    /// Durable on return.
    func write(_ payload: [UInt8], to name: String, in directory: String, files: any FileSystem)
        throws(FileError)
    {
        var bytes = magic
        bytes.reserveCapacity(Self.headerBytes + payload.count + LogFormat.checksumBytes)
        bytes.append(littleEndian: LogFormat.version)
        bytes.append(littleEndian: UInt64(payload.count))
        bytes.append(contentsOf: payload)
        bytes.append(littleEndian: CRC32C.checksum(bytes))
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
            bytes.littleEndian32(at: end) == CRC32C.checksum(bytes[..<end])
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
