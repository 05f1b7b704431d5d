import Glibc

/// The machine's files.
public struct PosixFileSystem: FileSystem {
    /// Only the node's own user and group may read what workflows recorded.
    private static let directoryMode: mode_t = 0o750
    fileprivate static let fileMode: mode_t = 0o640

    public init() {}

    public func createDirectory(_ path: String) throws(FileError) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for component in path.split(separator: "/") {
            let parent = prefix.isEmpty ? "." : prefix
            prefix += prefix.isEmpty || prefix.hasSuffix("/") ? String(component) : "/" + component
            if mkdir(prefix, Self.directoryMode) == 0 {
                try syncDirectory(parent)
                continue
            }
            let number = errno
            if number != EEXIST { throw FileError(operation: "mkdir", path: prefix, errno: number) }
            guard Self.isDirectory(prefix) else {
                throw FileError(operation: "mkdir", path: prefix, errno: ENOTDIR)
            }
        }
    }

    public func list(_ directory: String) throws(FileError) -> [String] {
        guard let stream = opendir(directory) else {
            throw FileError(operation: "opendir", path: directory, errno: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        let number = errno
        if number != 0 { throw FileError(operation: "readdir", path: directory, errno: number) }
        return names.sorted()
    }

    public func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    public func open(_ path: String, create: Bool) throws(FileError) -> any File {
        let flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0)
        return PosixFile(try openDescriptor(path, flags: flags), path: path)
    }

    public func remove(_ path: String) throws(FileError) {
        guard unlink(path) == 0 else {
            throw FileError(operation: "unlink", path: path, errno: errno)
        }
    }

    public func rename(_ from: String, to: String) throws(FileError) {
        guard Glibc.rename(from, to) == 0 else {
            throw FileError(operation: "rename to \(to)", path: from, errno: errno)
        }
    }

    public func syncDirectory(_ directory: String) throws(FileError) {
        let descriptor = try openDescriptor(directory, flags: O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(descriptor) }
        let number = retryInterrupted { fsync(descriptor) }
        if number != 0 { throw FileError(operation: "fsync", path: directory, errno: number) }
    }

    public func lock(_ path: String) throws(FileError) -> any FileLock {
        let descriptor = try openDescriptor(path, flags: O_RDWR | O_CREAT | O_CLOEXEC)
        let number = retryInterrupted { flock(descriptor, LOCK_EX | LOCK_NB) }
        if number != 0 {
            close(descriptor)
            throw FileError(operation: "flock", path: path, errno: number)
        }
        return PosixFileLock(descriptor)
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}

extension FileError {
    /// `FileSystem.lock` failed because another process, or another object in this one, holds the lock.
    public var isLockConflict: Bool { errno == EWOULDBLOCK }
    /// The system does not let this process do that, to that file.
    public var isDenied: Bool { errno == EACCES || errno == EPERM || errno == EROFS }
    /// A file could not grow: the disk is full, or what the node may use of it.
    public var isOutOfSpace: Bool { errno == ENOSPC || errno == EDQUOT }
}

/// An open file descriptor. Immutable, and the calls on it are the kernel's: any thread.
private final class PosixFile: File {
    private let descriptor: Int32
    private let path: String

    init(_ descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    var size: UInt64 {
        get throws(FileError) {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw failure("fstat", errno) }
            return UInt64(status.st_size)
        }
    }

    func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
        var failed: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let room = buffer.baseAddress! + filled
                let result = pread(descriptor, room, count - filled, off_t(offset) + off_t(filled))
                if result == 0 { break }
                if result > 0 {
                    filled += result
                } else if errno != EINTR {
                    failed = errno
                    break
                }
            }
        }
        if failed != 0 { throw failure("pread", failed) }
        return bytes
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
        let failed = bytes.withUnsafeBytes { buffer -> Int32 in
            var written = 0
            while written < buffer.count {
                let result = pwrite(
                    descriptor, buffer.baseAddress! + written, buffer.count - written,
                    off_t(offset) + off_t(written))
                if result > 0 {
                    written += result
                } else if result == 0 {
                    return ENOSPC
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
        if failed != 0 { throw failure("pwrite", failed) }
    }

    func truncate(to size: UInt64) throws(FileError) {
        let number = retryInterrupted { ftruncate(descriptor, off_t(size)) }
        if number != 0 { throw failure("ftruncate", number) }
    }

    func sync() throws(FileError) {
        let number = retryInterrupted { fdatasync(descriptor) }
        if number != 0 { throw failure("fdatasync", number) }
    }

    /// A failure is thrown, because the kernel reports it once: the next fdatasync would know nothing of it.
    func writeBack(at offset: UInt64, count: Int) throws(FileError) {
        guard let syncFileRange else { return }
        let number = retryInterrupted {
            syncFileRange(descriptor, Int64(offset), Int64(count), writeAndWait)
        }
        if number != 0, number != ENOSYS { throw failure("sync_file_range", number) }
    }

    private func failure(_ operation: String, _ number: Int32) -> FileError {
        FileError(operation: operation, path: path, errno: number)
    }
}

private final class PosixFileLock: FileLock {
    /// -1 once it was given back.
    private let descriptor: Lock<Int32>

    init(_ descriptor: Int32) { self.descriptor = Lock(descriptor) }

    deinit { unlock() }

    func unlock() {
        descriptor.withLock { descriptor in
            guard descriptor >= 0 else { return }
            // Said, and not left to `close`: a process that is being started has a copy of the descriptor for a moment.
            _ = retryInterrupted { flock(descriptor, LOCK_UN) }
            close(descriptor)
            descriptor = -1
        }
    }
}

private func openDescriptor(_ path: String, flags: Int32) throws(FileError) -> Int32 {
    while true {
        let descriptor = open(path, flags, PosixFileSystem.fileMode)
        if descriptor >= 0 { return descriptor }
        if errno != EINTR { throw FileError(operation: "open", path: path, errno: errno) }
    }
}

/// glibc shows its own call only to GNU sources; nil where the C library has none.
private let syncFileRange = dlsym(nil, "sync_file_range").map {
    unsafeBitCast($0, to: (@convention(c) @Sendable (Int32, Int64, Int64, UInt32) -> Int32).self)
}

/// SYNC_FILE_RANGE_WRITE and SYNC_FILE_RANGE_WAIT_AFTER.
private let writeAndWait: UInt32 = 2 | 4

/// Repeats a call that a signal interrupted before it did anything.
/// - Returns: 0, or the error number.
private func retryInterrupted(_ call: () -> Int32) -> Int32 {
    while call() != 0 {
        if errno != EINTR { return errno }
    }
    return 0
}
