import FlotillaIO

/// A `PayloadStore` in a directory that all nodes share: a network's file system, or one machine's disk for trying things.
public struct DirectoryPayloadStore: PayloadStore {
    private let path: String

    /// - Parameter path: made with the first payload where it is not there.
    public init(_ path: String) { self.path = path }

    /// On a thread of its own. The file appears under its name when it is whole, and on the disk.
    /// - Throws: `FileError`.
    public func write(_ bytes: [UInt8], as name: String) async throws {
        let target = try file(name)
        try await onThread("payload") {
            let files = PosixFileSystem()
            try files.createDirectory(path)
            // Who wrote it may have ended before the directory was synced.
            if files.exists(target) { return try files.syncDirectory(path) }
            // Somebody else may be writing the same.
            let draft = "\(target).\(String(UInt64.random(in: .min ... .max), radix: 16))"
            do {
                let file = try files.open(draft, create: true)
                try file.write(bytes, at: 0)
                try file.sync()
                try files.rename(draft, to: target)
            } catch {
                // What is left of it is in nobody's way.
                try? files.remove(draft)
                throw error
            }
            try files.syncDirectory(path)
        }
    }

    public func read(_ name: String) async throws -> [UInt8]? {
        let target = try file(name)
        return try await onThread("payload") {
            let files = PosixFileSystem()
            guard files.exists(target) else { return nil }
            let file = try files.open(target, create: false)
            return try file.read(at: 0, count: Int(clamping: file.size))
        }
    }

    /// - Throws: `WorkflowError` with `payloadUnavailable` for a name that is none: it would name a file elsewhere.
    private func file(_ name: String) throws(WorkflowError) -> String {
        guard name.utf8.count == 2 * SHA256Digest.byteCount,
            name.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) })
        else { throw WorkflowError(.payloadUnavailable, "'\(name)' is not the name of a stored payload") }
        return "\(path)/\(name)"
    }
}
