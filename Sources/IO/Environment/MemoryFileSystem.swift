import Glibc

/// Files that last as long as this object, for nodes that are to leave nothing on a disk. Any thread.
public final class MemoryFileSystem: FileSystem {
    fileprivate final class Contents: Sendable {
        let bytes = Lock<[UInt8]>([])
    }

    private struct State {
        var files: [String: Contents] = [:]
        var directories: Set<String> = []
        var locked: Set<String> = []
    }

    private let state = Lock(State())

    public init() {}

    public func createDirectory(_ path: String) throws(FileError) {
        state.withLock { _ = $0.directories.insert(path) }
    }

    public func list(_ directory: String) throws(FileError) -> [String] {
        let names: [String]? = state.withLock { state in
            guard state.directories.contains(directory) else { return nil }
            let prefix = directory + "/"
            return state.files.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
                .filter { !$0.contains("/") }.sorted()
        }
        guard let names else { throw FileError(operation: "list", path: directory, errno: ENOENT) }
        return names
    }

    public func exists(_ path: String) -> Bool {
        state.withLock { $0.files[path] != nil || $0.directories.contains(path) }
    }

    public func open(_ path: String, create: Bool) throws(FileError) -> any File {
        let contents: Contents? = state.withLock { state in
            if let known = state.files[path] { return known }
            guard create else { return nil }
            let contents = Contents()
            state.files[path] = contents
            return contents
        }
        guard let contents else { throw FileError(operation: "open", path: path, errno: ENOENT) }
        return MemoryFile(contents)
    }

    public func remove(_ path: String) throws(FileError) {
        guard state.withLock({ $0.files.removeValue(forKey: path) }) != nil else {
            throw FileError(operation: "remove", path: path, errno: ENOENT)
        }
    }

    public func rename(_ from: String, to: String) throws(FileError) {
        let isRenamed = state.withLock { state in
            guard let contents = state.files.removeValue(forKey: from) else { return false }
            state.files[to] = contents
            return true
        }
        if !isRenamed { throw FileError(operation: "rename", path: from, errno: ENOENT) }
    }

    public func syncDirectory(_ directory: String) throws(FileError) {}

    public func lock(_ path: String) throws(FileError) -> any FileLock {
        guard state.withLock({ $0.locked.insert(path).inserted }) else {
            throw FileError(operation: "lock", path: path, errno: EWOULDBLOCK)
        }
        return MemoryFileLock { [state] in state.withLock { _ = $0.locked.remove(path) } }
    }
}

private final class MemoryFile: File {
    private let contents: MemoryFileSystem.Contents

    init(_ contents: MemoryFileSystem.Contents) { self.contents = contents }

    var size: UInt64 { contents.bytes.withLock { UInt64($0.count) } }

    func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
        contents.bytes.withLock { bytes in
            guard offset < UInt64(bytes.count) else { return [] }
            return Array(bytes[Int(offset)...].prefix(count))
        }
    }

    func write(_ new: [UInt8], at offset: UInt64) throws(FileError) {
        contents.bytes.withLock { bytes in
            let start = Int(offset)
            let missing = start + new.count - bytes.count
            if missing > 0 { bytes.append(contentsOf: repeatElement(0, count: missing)) }
            bytes.replaceSubrange(start..<start + new.count, with: new)
        }
    }

    func truncate(to size: UInt64) throws(FileError) {
        contents.bytes.withLock { bytes in
            let missing = Int(size) - bytes.count
            if missing > 0 {
                bytes.append(contentsOf: repeatElement(0, count: missing))
            } else {
                bytes.removeLast(-missing)
            }
        }
    }

    func sync() throws(FileError) {}
}

private final class MemoryFileLock: FileLock {
    private let release: Lock<(@Sendable () -> Void)?>

    init(_ release: @escaping @Sendable () -> Void) { self.release = Lock(release) }

    deinit { unlock() }

    func unlock() {
        let release = release.withLock { release in
            defer { release = nil }
            return release
        }
        release?()
    }
}
