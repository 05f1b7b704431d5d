/// The calls on files that the log and the snapshots make, so that a simulated disk can stand in. All of them block:
/// they are made on a worker, never on a loop.
public protocol FileSystem: Sendable {
    /// Creates the directory and its parents, and syncs each parent that got a new entry.
    func createDirectory(_ path: String) throws(FileError)
    /// The names in a directory, sorted.
    func list(_ directory: String) throws(FileError) -> [String]
    func exists(_ path: String) -> Bool
    /// Opens for reading and writing.
    func open(_ path: String, create: Bool) throws(FileError) -> any File
    func remove(_ path: String) throws(FileError)
    /// Atomic; durable only after `syncDirectory`.
    func rename(_ from: String, to: String) throws(FileError)
    /// Makes the directory's entries durable.
    func syncDirectory(_ directory: String) throws(FileError)
    /// Takes an exclusive lock that ends with the process or with the returned object.
    func lock(_ path: String) throws(FileError) -> any FileLock
}

public protocol FileLock: AnyObject, Sendable {
    func unlock()
}

/// An open file. Closed when released.
public protocol File: AnyObject, Sendable {
    var size: UInt64 { get throws(FileError) }
    /// Reads up to `count` bytes at `offset`; fewer only at the end of the file.
    func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8]
    /// Writes all of `bytes` at `offset`.
    func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError)
    func truncate(to size: UInt64) throws(FileError)
    /// Makes the data and the size durable (fdatasync).
    func sync() throws(FileError)
    /// Brings bytes that were written to the disk and waits, so that a later `sync` finds little to do. By itself it
    /// promises nothing. For files without a disk under them it does nothing.
    func writeBack(at offset: UInt64, count: Int) throws(FileError)
}

extension File {
    public func writeBack(at offset: UInt64, count: Int) throws(FileError) {}
}

/// A failed call on a file, with what was tried.
public struct FileError: Error, Hashable, Sendable, CustomStringConvertible {
    public var operation: String
    public var path: String
    /// The system's error number.
    public var errno: Int32
    public init(operation: String, path: String, errno: Int32) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }
    public var description: String { "\(operation) \(path): \(systemErrorText(errno))" }
}

/// A thread for blocking calls, or its simulation. Work runs one piece after the other, in order.
public protocol Worker: Sendable {
    /// Runs `work` off the loop, then `completion` on `loop`. Any thread.
    func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop)
    /// Finishes what was submitted, then ends the thread. Does not block; idempotent.
    func shutdown() async
}
