import FlotillaIO

/// Files in memory that forget what was not synced, and fail where they are told to.
///
/// A file's bytes survive `losePower()` as they were at its last `sync`, a directory's names as they were at its last
/// `syncDirectory`. Locks end with it.
final class PowerLossFileSystem: FileSystem {
    final class Inode: Sendable {
        struct Bytes {
            var current: [UInt8] = []
            var durable: [UInt8] = []

            mutating func losePower(_ fate: Unsynced) {
                let written = current
                var old = durable
                old.append(contentsOf: repeatElement(0, count: max(0, written.count - old.count)))
                let changed = written.indices.filter { written[$0] != old[$0] }
                let range = (changed.first ?? 0)..<(changed.last.map { $0 + 1 } ?? 0)
                let quarter = range.count / 4
                switch fate {
                case .lost: current = durable
                case .zeros: current = old
                case .half:
                    current = old
                    current.replaceSubrange(range.prefix(2 * quarter), with: written[range.prefix(2 * quarter)])
                    if written.count > durable.count {
                        current.removeSubrange(max(durable.count, range.lowerBound + 2 * quarter)...)
                    }
                case .frontLost:
                    current.replaceSubrange(range.prefix(2 * quarter), with: old[range.prefix(2 * quarter)])
                case .backLost:
                    current.replaceSubrange(range.dropFirst(2 * quarter), with: old[range.dropFirst(2 * quarter)])
                case .middleLost:
                    let middle = range.dropFirst(quarter).dropLast(quarter)
                    current.replaceSubrange(middle, with: old[middle])
                case .kept: break
                }
                durable = current
            }
        }
        let bytes = Lock(Bytes())
    }

    struct State {
        var current: [String: Inode] = [:]
        var durable: [String: Inode] = [:]
        var directories: Set<String> = []
        var durableDirectories: Set<String> = []
        var locked: Set<String> = []
        /// How many more changes succeed before everything fails; nil: all.
        var changesLeft: Int?
        var changes = 0
        var failsNextSync = false
        /// How many bytes all files may have together; a write that makes one longer than that fails, and writes half.
        var capacity: Int?
        /// Of a file whose name ends so, no more than this can be read in one piece.
        var readable: (suffix: String, bytes: Int)?
    }

    let state = Lock(State())
    private static let ioError: Int32 = 5
    private static let noEntry: Int32 = 2
    private static let wouldBlock: Int32 = 11
    private static let noSpace: Int32 = 28

    /// The bytes of all files, by path.
    var contents: [String: [UInt8]] {
        state.withLock { $0.current.mapValues { $0.bytes.withLock { $0.current } } }
    }

    /// A file system in which all of `contents` is durable.
    convenience init(_ contents: [String: [UInt8]]) {
        self.init()
        state.withLock { state in
            for (path, bytes) in contents {
                let inode = Inode()
                inode.bytes.withLock { $0 = .init(current: bytes, durable: bytes) }
                state.current[path] = inode
                state.directories.insert(Self.parent(path))
            }
            state.durable = state.current
            state.durableDirectories = state.directories
        }
    }

    /// What becomes of bytes that were written and not synced.
    enum Unsynced: CaseIterable, Sendable {
        case lost
        /// Where the file was made longer it holds zeros.
        case zeros
        /// Half of them arrived, from the front, and the file ends there if it was made longer.
        case half
        /// They arrived out of order, and some of them not at all: the front, the back, or what is between.
        case frontLost, backLost, middleLost
        /// Only the process ended.
        case kept

        /// Whether the log cannot tell what arrived from a batch that rotted.
        var mayBeAmbiguous: Bool { self == .middleLost || self == .frontLost }
    }

    /// Of the files that are gone and whose directory was not synced since, the first by name comes back.
    func forgetFirstRemoval() {
        state.withLock { state in
            let lost = state.durable.keys.filter { state.current[$0] == nil }.min()
            if let lost { state.current[lost] = state.durable[lost] }
        }
    }

    func losePower(unsynced: Unsynced = .lost) {
        state.withLock { state in
            if unsynced != .kept {
                state.current = state.durable
                state.directories = state.durableDirectories
            }
            state.locked = []
            state.changesLeft = nil
            for inode in state.current.values { inode.bytes.withLock { $0.losePower(unsynced) } }
            state.durable = state.current
        }
    }

    private static func parent(_ path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }

    /// Counts a change; throws once they have run out.
    func change(_ operation: String, _ path: String) throws(FileError) {
        let fails = state.withLock { state in
            state.changes += 1
            guard let left = state.changesLeft else { return false }
            state.changesLeft = max(0, left - 1)
            return left == 0
        }
        if fails { throw FileError(operation: operation, path: path, errno: Self.ioError) }
    }

    private func hasRoom(for growth: Int) -> Bool {
        let capacity = state.withLock { $0.capacity }
        guard let capacity, growth > 0 else { return true }
        return contents.reduce(0) { $0 + $1.value.count } + growth <= capacity
    }

    func createDirectory(_ path: String) throws(FileError) {
        try change("mkdir", path)
        state.withLock { state in
            var path = path
            while !path.isEmpty {
                state.directories.insert(path)
                state.durableDirectories.insert(path)
                path = Self.parent(path)
            }
        }
    }

    func list(_ directory: String) throws(FileError) -> [String] {
        state.withLock { state in
            state.current.keys.filter { Self.parent($0) == directory }.map {
                String($0.dropFirst(directory.count + 1))
            }
            .sorted()
        }
    }

    func exists(_ path: String) -> Bool {
        state.withLock { $0.current[path] != nil || $0.directories.contains(path) }
    }

    func open(_ path: String, create: Bool) throws(FileError) -> any File {
        if let inode = state.withLock({ $0.current[path] }) { return OpenFile(self, inode, path) }
        guard create else { throw FileError(operation: "open", path: path, errno: Self.noEntry) }
        try change("create", path)
        let inode = Inode()
        state.withLock { $0.current[path] = inode }
        return OpenFile(self, inode, path)
    }

    func remove(_ path: String) throws(FileError) {
        try change("unlink", path)
        let removed = state.withLock { $0.current.removeValue(forKey: path) }
        if removed == nil { throw FileError(operation: "unlink", path: path, errno: Self.noEntry) }
    }

    func rename(_ from: String, to: String) throws(FileError) {
        try change("rename", from)
        state.withLock { state in
            state.current[to] = state.current.removeValue(forKey: from)
        }
    }

    func syncDirectory(_ directory: String) throws(FileError) {
        try change("fsync", directory)
        state.withLock { state in
            state.durable = state.durable.filter { Self.parent($0.key) != directory }
            for (path, inode) in state.current where Self.parent(path) == directory {
                state.durable[path] = inode
            }
        }
    }

    func lock(_ path: String) throws(FileError) -> any FileLock {
        let taken = state.withLock { !$0.locked.insert(path).inserted }
        if taken { throw FileError(operation: "flock", path: path, errno: Self.wouldBlock) }
        return PathLock(self, path)
    }

    private final class PathLock: FileLock {
        private let files: PowerLossFileSystem
        private let path: String
        init(_ files: PowerLossFileSystem, _ path: String) {
            self.files = files
            self.path = path
        }
        func unlock() { _ = files.state.withLock { $0.locked.remove(path) } }
    }

    private final class OpenFile: File {
        private let files: PowerLossFileSystem
        private let inode: Inode
        private let path: String
        init(_ files: PowerLossFileSystem, _ inode: Inode, _ path: String) {
            self.files = files
            self.inode = inode
            self.path = path
        }

        var size: UInt64 {
            get throws(FileError) { inode.bytes.withLock { UInt64($0.current.count) } }
        }

        func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
            let limit = files.state.withLock { $0.readable }
            if let limit, path.hasSuffix(limit.suffix), count > limit.bytes {
                throw FileError(operation: "pread", path: path, errno: PowerLossFileSystem.ioError)
            }
            return inode.bytes.withLock { bytes in
                let start = min(Int(offset), bytes.current.count)
                return Array(bytes.current[start..<min(start + count, bytes.current.count)])
            }
        }

        func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
            try files.change("pwrite", path)
            guard files.hasRoom(for: Int(offset) + bytes.count - Int(try size)) else {
                store(Array(bytes.prefix(bytes.count / 2)), at: offset)
                throw FileError(operation: "pwrite", path: path, errno: PowerLossFileSystem.noSpace)
            }
            store(bytes, at: offset)
        }

        private func store(_ bytes: [UInt8], at offset: UInt64) {
            inode.bytes.withLock { file in
                let start = Int(offset)
                if file.current.count < start {
                    file.current += Array(repeating: 0, count: start - file.current.count)
                }
                let end = min(start + bytes.count, file.current.count)
                file.current.replaceSubrange(start..<end, with: bytes)
            }
        }

        func truncate(to size: UInt64) throws(FileError) {
            try files.change("ftruncate", path)
            inode.bytes.withLock { file in
                let size = Int(size)
                if size < file.current.count { file.current.removeLast(file.current.count - size) }
                file.current += Array(repeating: 0, count: size - file.current.count)
            }
        }

        func sync() throws(FileError) {
            try files.change("fdatasync", path)
            let fails = files.state.withLock { state in
                defer { state.failsNextSync = false }
                return state.failsNextSync
            }
            if fails {
                throw FileError(
                    operation: "fdatasync", path: path, errno: PowerLossFileSystem.ioError)
            }
            inode.bytes.withLock { $0.durable = $0.current }
        }
    }
}
