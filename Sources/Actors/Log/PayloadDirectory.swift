import FlotillaIO

/// The files of large payloads. A file's name is the SHA-256 of its content, and it holds nothing else.
struct PayloadDirectory {
    static let name = "payloads"

    let path: String
    let files: any FileSystem

    func path(of reference: PayloadReference) -> String { "\(path)/\(reference.fileName)" }

    /// Durable on return, with its name.
    func write(_ payload: [UInt8], as reference: PayloadReference) throws(FileError) {
        try files.writeWhole(payload, to: reference.fileName, in: path)
    }

    /// - Parameter owner: which entry of which group, for the error.
    /// - Throws: `damaged`, `missing`, `ioFailed`.
    func read(_ reference: PayloadReference, of owner: @autoclosure () -> String) throws(LogError) -> [UInt8] {
        let path = path(of: reference)
        guard files.exists(path) else { throw .missing(path, "it is the payload of \(owner())") }
        let payload: [UInt8]
        do { payload = try files.readWhole(path) } catch { throw .io(error) }
        guard payload.count == reference.byteCount else {
            throw .damaged(
                path, at: UInt64(min(payload.count, reference.byteCount)),
                "the payload of \(owner()) has \(reference.byteCount) bytes, and the file \(payload.count)")
        }
        guard SHA256Digest(of: payload) == reference.hash else {
            throw .damaged(path, at: 0, "the payload of \(owner()) does not match its SHA-256")
        }
        return payload
    }

    /// Not durable: a file that comes back is removed at the next open.
    func remove(_ reference: PayloadReference) throws(FileError) { try files.remove(path(of: reference)) }

    /// Takes back a file whose writing failed for want of room. What cannot be removed now is at the next open.
    func discard(_ reference: PayloadReference) {
        for path in [path(of: reference), path(of: reference) + SealedFile.temporarySuffix] where files.exists(path) {
            try? files.remove(path)
        }
    }

    /// The names of all files that are complete and that `isNamed` denies.
    func unnamed(_ isNamed: (String) -> Bool) throws(FileError) -> [String] {
        guard files.exists(path) else { return [] }
        return try files.list(path).filter { !$0.hasSuffix(SealedFile.temporarySuffix) && !isNamed($0) }
    }
}
