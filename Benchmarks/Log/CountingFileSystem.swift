import FlotillaIO

/// The machine's files, and what was asked of them.
final class CountingFileSystem: FileSystem {
    struct Counts: Sendable {
        var bytesWritten: UInt64 = 0
        /// Of files, not of directories.
        var syncs: UInt64 = 0
    }

    private let files = PosixFileSystem()
    private let state = Lock(Counts())
    private let isSynced: Bool
    private let willRead: @Sendable (Int) -> Void

    /// - Parameters:
    ///   - isSynced: whether files are made durable when that is asked for.
    ///   - willRead: called before each read, by its thread, with the bytes that are asked for.
    init(isSynced: Bool = true, willRead: @escaping @Sendable (Int) -> Void = { _ in }) {
        self.isSynced = isSynced
        self.willRead = willRead
    }

    var counts: Counts { state.withLock { $0 } }

    func createDirectory(_ path: String) throws(FileError) { try files.createDirectory(path) }
    func list(_ directory: String) throws(FileError) -> [String] { try files.list(directory) }
    func exists(_ path: String) -> Bool { files.exists(path) }
    func remove(_ path: String) throws(FileError) { try files.remove(path) }
    func rename(_ from: String, to: String) throws(FileError) { try files.rename(from, to: to) }
    func syncDirectory(_ directory: String) throws(FileError) { try files.syncDirectory(directory) }
    func lock(_ path: String) throws(FileError) -> any FileLock { try files.lock(path) }
    func open(_ path: String, create: Bool) throws(FileError) -> any File {
        CountedFile(try files.open(path, create: create), of: self)
    }

    /// The sizes of the files in a directory, together.
    func size(of directory: String) throws(FileError) -> UInt64 {
        var sum: UInt64 = 0
        for name in try files.list(directory) { sum += try files.open("\(directory)/\(name)", create: false).size }
        return sum
    }

    private final class CountedFile: File {
        private let file: any File
        private let owner: CountingFileSystem

        init(_ file: any File, of owner: CountingFileSystem) {
            self.file = file
            self.owner = owner
        }

        var size: UInt64 {
            get throws(FileError) { try file.size }
        }
        func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
            owner.willRead(count)
            return try file.read(at: offset, count: count)
        }
        func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
            owner.state.withLock { $0.bytesWritten += UInt64(bytes.count) }
            try file.write(bytes, at: offset)
        }
        func truncate(to size: UInt64) throws(FileError) { try file.truncate(to: size) }
        func sync() throws(FileError) {
            owner.state.withLock { $0.syncs += 1 }
            if owner.isSynced { try file.sync() }
        }
        func writeBack(at offset: UInt64, count: Int) throws(FileError) {
            if owner.isSynced { try file.writeBack(at: offset, count: count) }
        }
    }
}
