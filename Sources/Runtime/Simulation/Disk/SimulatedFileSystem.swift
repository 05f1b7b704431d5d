public import FlotillaIO
import Glibc

/// A node's disk as one of its processes sees it. After that process has ended every call throws EIO.
public final class SimulatedFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which `enter` checks.
    /// Outlives this: the world keeps every process until the run is over.
    private unowned let process: SimulatedProcess
    private let disk: SimulatedDisk

    init(process: SimulatedProcess) {
        self.process = process
        disk = process.world.disk(of: process.node)
    }

    public func createDirectory(_ path: String) throws(FileError) {
        try enter("mkdir", path)
        guard case .directory(var directory)? = disk.node(at: "") else { return }
        for name in SimulatedDisk.names(in: path) {
            switch directory.current[name] {
            case .directory(let next)?: directory = next
            case .file?: throw FileError(operation: "mkdir", path: path, errno: ENOTDIR)
            case nil: directory = disk.makeDirectory(name, in: directory)
            }
        }
        try changed("mkdir", path)
    }

    public func list(_ path: String) throws(FileError) -> [String] {
        try enter("list", path)
        return try directory("list", path).current.keys.sorted()
    }

    /// False once the process has ended.
    public func exists(_ path: String) -> Bool {
        process.world.preconditionOnThread()
        return process.isAlive && disk.node(at: path) != nil
    }

    public func open(_ path: String, create: Bool) throws(FileError) -> any File {
        try enter("open", path)
        return SimulatedFile(
            path: path, file: try file("open", path, create: create), fileSystem: self)
    }

    public func remove(_ path: String) throws(FileError) {
        try enter("remove", path)
        guard let (parent, name) = disk.parent(of: path), let node = parent.current[name] else {
            throw FileError(operation: "remove", path: path, errno: ENOENT)
        }
        guard case .file = node else {
            throw FileError(operation: "remove", path: path, errno: EISDIR)
        }
        disk.change(.unlink(parent, name))
        try changed("remove", path)
    }

    public func rename(_ from: String, to: String) throws(FileError) {
        try enter("rename", from)
        guard let (source, name) = disk.parent(of: from), let node = source.current[name],
            let (target, newName) = disk.parent(of: to)
        else { throw FileError(operation: "rename", path: from, errno: ENOENT) }
        if let replaced = target.current[newName] {
            guard !replaced.isSame(node) else { return }
            switch (node, replaced) {
            case (.file, .file): break
            case (.directory, .directory(let directory)) where directory.current.isEmpty: break
            case (.directory, .directory):
                throw FileError(operation: "rename", path: to, errno: ENOTEMPTY)
            case (.file, .directory): throw FileError(operation: "rename", path: to, errno: EISDIR)
            case (.directory, .file): throw FileError(operation: "rename", path: to, errno: ENOTDIR)
            }
        }
        disk.change(.rename(source, name, to: target, newName, node))
        try changed("rename", from)
    }

    public func syncDirectory(_ path: String) throws(FileError) {
        try enter("sync directory", path)
        let directory = try directory("sync directory", path)
        disk.counts.directorySyncs += 1
        if let errno = disk.plannedFailure(.sync) {
            throw FileError(operation: "sync directory", path: path, errno: errno)
        }
        // Asked before, unlike elsewhere: the power fails while the sync is under way.
        try changed("sync directory", path)
        disk.syncEntries(of: directory)
    }

    public func lock(_ path: String) throws(FileError) -> any FileLock {
        try enter("lock", path)
        _ = try file("lock", path, create: true)
        guard let number = disk.takeLock(path) else {
            throw FileError(operation: "lock", path: path, errno: EWOULDBLOCK)
        }
        return SimulatedFileLock(disk: disk, path: path, number: number)
    }

    // MARK: Helpers

    private func directory(_ operation: String, _ path: String) throws(FileError) -> DiskDirectory {
        switch disk.node(at: path) {
        case .directory(let directory)?: return directory
        case .file?: throw FileError(operation: operation, path: path, errno: ENOTDIR)
        case nil: throw FileError(operation: operation, path: path, errno: ENOENT)
        }
    }

    private func file(_ operation: String, _ path: String, create: Bool) throws(FileError)
        -> DiskFile
    {
        switch disk.node(at: path) {
        case .file(let file)?: return file
        case .directory?: throw FileError(operation: operation, path: path, errno: EISDIR)
        case nil: break
        }
        guard create, let (parent, name) = disk.parent(of: path) else {
            throw FileError(operation: operation, path: path, errno: ENOENT)
        }
        let file = DiskFile()
        disk.change(.link(parent, name, .file(file)))
        try changed(operation, path)
        return file
    }

    /// Every call begins here.
    fileprivate func enter(_ operation: String, _ path: String) throws(FileError) {
        process.world.preconditionOnThread()
        guard process.isAlive else { throw FileError(operation: operation, path: path, errno: EIO) }
        if process.world.runningLoop != nil { disk.counts.callsOnLoop += 1 }
    }

    /// Every change ends here: the power may fail with it.
    fileprivate func changed(_ operation: String, _ path: String) throws(FileError) {
        if disk.powerFailsNow(in: process) {
            throw FileError(operation: operation, path: path, errno: EIO)
        }
    }

    // MARK: For files

    fileprivate func read(_ file: DiskFile, _ path: String, at offset: UInt64, count: Int)
        throws(FileError) -> [UInt8]
    {
        try enter("read", path)
        disk.counts.reads += 1
        if let errno = disk.plannedFailure(.read) {
            throw FileError(operation: "read", path: path, errno: errno)
        }
        guard offset < file.current.count, count > 0 else { return [] }
        let start = Int(offset)
        return Array(file.current[start..<min(file.current.count, start + count)])
    }

    fileprivate func write(_ bytes: [UInt8], to file: DiskFile, _ path: String, at offset: UInt64)
        throws(FileError)
    {
        try enter("write", path)
        disk.counts.writes += 1
        if let errno = disk.plannedFailure(.write) {
            let part = Int(process.world.random(below: UInt64(bytes.count) + 1))
            file.make(.write(offset: Int(offset), bytes: bytes.prefix(part)))
            throw FileError(operation: "write", path: path, errno: errno)
        }
        guard disk.hasRoom(for: Int(offset) + bytes.count - file.current.count) else {
            disk.counts.failures += 1
            throw FileError(operation: "write", path: path, errno: ENOSPC)
        }
        disk.counts.bytesWritten += UInt64(bytes.count)
        file.make(.write(offset: Int(offset), bytes: bytes[...]))
        try changed("write", path)
    }

    fileprivate func truncate(_ file: DiskFile, _ path: String, to size: UInt64) throws(FileError) {
        try enter("truncate", path)
        file.make(.truncate(size: Int(size)))
        try changed("truncate", path)
    }

    fileprivate func sync(_ file: DiskFile, _ path: String) throws(FileError) {
        try enter("sync", path)
        disk.counts.syncs += 1
        if let errno = disk.plannedFailure(.sync) {
            file.failSync()
            throw FileError(operation: "sync", path: path, errno: errno)
        }
        // Asked before, unlike elsewhere: the power fails while the sync is under way.
        try changed("sync", path)
        file.sync()
    }
}

private final class SimulatedFile: File, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which the file system's calls check.
    private let path: String
    private let file: DiskFile
    private let fileSystem: SimulatedFileSystem

    init(path: String, file: DiskFile, fileSystem: SimulatedFileSystem) {
        self.path = path
        self.file = file
        self.fileSystem = fileSystem
    }

    var size: UInt64 {
        get throws(FileError) {
            try fileSystem.enter("size", path)
            return UInt64(file.current.count)
        }
    }
    func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
        try fileSystem.read(file, path, at: offset, count: count)
    }
    func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
        try fileSystem.write(bytes, to: file, path, at: offset)
    }
    func truncate(to size: UInt64) throws(FileError) {
        try fileSystem.truncate(file, path, to: size)
    }
    func sync() throws(FileError) { try fileSystem.sync(file, path) }
}

private final class SimulatedFileLock: FileLock, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread; when released after the run, by its last owner alone.
    private let disk: SimulatedDisk
    private let path: String
    private let number: UInt64

    init(disk: SimulatedDisk, path: String, number: UInt64) {
        self.disk = disk
        self.path = path
        self.number = number
    }
    deinit { unlock() }
    func unlock() { disk.releaseLock(path, number) }
}
