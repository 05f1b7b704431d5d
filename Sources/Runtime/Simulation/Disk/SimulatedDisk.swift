import FlotillaIO
public import FlotillaRaft
import Glibc

/// What becomes of changes that were not synced when the power fails.
public enum UnsyncedFate: Sendable {
    /// None of them reached the disk.
    case dropped
    /// Of each file, and of the directory entries, the first few did; the next write may be torn at a byte.
    case prefixKept
    /// Any of them did, in no order, some writes torn: what a page cache really does. Directory entries keep a prefix.
    case anyKept
}

/// One node's disk. It outlives the node's processes; they reach it by their `SimulatedFileSystem`.
///
/// File contents are durable after `File.sync`, directory entries (files made, renamed, removed) after
/// `syncDirectory`; directories themselves at once, as `createDirectory` promises.
public final class SimulatedDisk: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only; the file system's calls check.
    /// What a process does with the disk.
    public enum Operation: Sendable, Hashable {
        /// Of a file's bytes.
        case read
        /// Of a file's bytes.
        case write
        /// Of a file or a directory.
        case sync
    }
    /// Calls made so far, failed ones included.
    public struct Counts: Sendable, Hashable {
        /// Calls that read.
        public var reads: UInt64 = 0
        /// Calls that write.
        public var writes: UInt64 = 0
        /// Bytes that were written.
        public var bytesWritten: UInt64 = 0
        /// Syncs of files.
        public var syncs: UInt64 = 0
        /// Syncs of directories.
        public var directorySyncs: UInt64 = 0
        /// Calls that failed because the scenario, a crash or a full disk said so.
        public var failures: UInt64 = 0
        /// Calls made on a loop, which they would block. Should stay 0.
        public var callsOnLoop: UInt64 = 0
    }

    /// Whose disk it is.
    public let node: NodeID
    let world: SimulationWorld
    /// What was done with it, by all processes of the node.
    public internal(set) var counts = Counts()
    /// How long a worker's piece of work takes on this machine.
    public var latency: ClosedRange<Duration> = .microseconds(100)...(.milliseconds(2))
    /// How much later than its end the node hears of a piece of work. What two workers do may end in one order and be
    /// heard of in the other.
    public var completionDelay: ClosedRange<Duration> = .zero ... .zero
    /// How many bytes fit on the disk; a write that would make the files larger fails with ENOSPC. Nil for no limit.
    public var capacity: Int?
    /// The probability that a call fails with EIO. A failed write has written a part; after a failed sync the changes
    /// are lost, though a later sync succeeds.
    public var failureRate: [Operation: Double] = [:]

    private var plannedFailures: [Operation: (count: Int, errno: Int32)] = [:]
    private var plannedPowerLoss: (operations: Int, fate: UnsyncedFate)?
    private var root = DiskDirectory()
    private var pendingEntries: [EntryChange] = []
    private var locks: [String: UInt64] = [:]
    private var lastLock: UInt64 = 0

    init(node: NodeID, world: SimulationWorld) {
        self.node = node
        self.world = world
    }

    // MARK: Faults

    /// Makes the next `count` calls of a kind fail; 5 is EIO. Replaces what was planned before; 0 takes it back.
    public func failNext(_ operation: Operation, count: Int = 1, errno: Int32 = 5) {
        precondition(count >= 0, "\(count) calls cannot fail")
        plannedFailures[operation] = count > 0 ? (count, errno) : nil
    }

    /// Lets the power fail in the middle of the `operations`-th write, truncation, sync or change of a directory from
    /// now on: between the calls of one piece of work. Nil takes that back.
    public func losePower(afterChanges operations: Int?, _ fate: UnsyncedFate = .dropped) {
        precondition(operations.map { $0 > 0 } ?? true, "the power fails at the first change at the earliest")
        plannedPowerLoss = operations.map { ($0, fate) }
    }

    /// Turns one bit over, in the synced and in the cached bytes.
    /// - Returns: false if there is no such byte.
    public func flipBit(_ bit: UInt8, at offset: Int, of path: String) -> Bool {
        guard case .file(let file)? = node(at: path), offset < file.current.count, bit < 8 else {
            return false
        }
        file.flip(bit: bit, at: offset)
        return true
    }

    /// Loses everything, as a replaced disk has. Only while no process of the node is alive;
    /// otherwise the simulation fails.
    public func wipe() {
        replace(with: DiskCopy(root: DiskDirectory()))
    }

    /// What would be found on the disk if the power failed now and every unsynced change were dropped.
    public func copy() -> DiskCopy {
        var copied: [ObjectIdentifier: DiskFile] = [:]
        return DiskCopy(root: root.durableCopy(&copied))
    }

    /// Puts an earlier copy of a disk, of this node or another, in place of what is there. Only while no process of the
    /// node is alive; otherwise the simulation fails.
    public func replace(with copy: DiskCopy) {
        guard world.processes[node] == nil else {
            return world.fail(
                world.error(.misuse, "\(node) runs on the disk that is to be replaced; crash or stop it first"))
        }
        var copied: [ObjectIdentifier: DiskFile] = [:]
        root = copy.root.durableCopy(&copied)
        pendingEntries = []
    }

    // MARK: Looking at it

    /// The paths of all files as the process sees them, sorted.
    public var files: [String] {
        var found: [String] = []
        collect(root, path: "", \.current) { path, _ in found.append(path) }
        return found
    }

    /// A file's bytes as the process sees them; nil if there is none.
    public func contents(of path: String) -> [UInt8]? {
        guard case .file(let file)? = node(at: path) else { return nil }
        return file.current
    }

    /// What would be left of a file if the power failed and every unsynced change were dropped.
    public func durableContents(of path: String) -> [UInt8]? {
        guard case .file(let file)? = node(at: path, \.durable) else { return nil }
        return file.durable
    }

    // MARK: For processes

    func processEnded() { locks = [:] }

    func powerLost(_ fate: UnsyncedFate) {
        locks = [:]
        plannedPowerLoss = nil
        let kept =
            switch fate {
            case .dropped: 0
            case .prefixKept, .anyKept: Int(world.random(below: UInt64(pendingEntries.count) + 1))
            }
        for change in pendingEntries.prefix(kept) { change.applyToDurable() }
        pendingEntries = []
        restoreEntries(of: root)
        var lost: [DiskFile] = []
        collect(root, path: "", \.durable) { _, file in lost.append(file) }
        for file in lost { losePower(file, fate) }
    }

    private func losePower(_ file: DiskFile, _ fate: UnsyncedFate) {
        switch fate {
        case .dropped:
            file.losePower { _ in nil }
        case .prefixKept:
            var left = Int(world.random(below: UInt64(file.pending.count) + 1))
            file.losePower { change in
                left -= 1
                return left >= 0 ? change.size : left == -1 ? torn(change) : nil
            }
        case .anyKept:
            file.losePower { change in
                switch world.random(below: 4) {
                case 0: nil
                case 1: torn(change)
                default: change.size
                }
            }
        }
    }

    /// Some of a write's bytes; nothing of a truncation.
    private func torn(_ change: DiskFile.Change) -> Int? {
        switch change {
        case .write(_, let bytes): Int(world.random(below: UInt64(bytes.count) + 1))
        case .truncate: nil
        }
    }

    private func restoreEntries(of directory: DiskDirectory) {
        directory.current = directory.durable
        for case .directory(let child) in directory.durable.values { restoreEntries(of: child) }
    }

    /// Whether a call is to fail, and with what.
    func plannedFailure(_ operation: Operation) -> Int32? {
        if let planned = plannedFailures[operation] {
            plannedFailures[operation] =
                planned.count > 1 ? (planned.count - 1, planned.errno) : nil
            counts.failures += 1
            return planned.errno
        }
        guard world.chance(failureRate[operation] ?? 0) else { return nil }
        counts.failures += 1
        return EIO
    }

    /// Whether a file may grow by so many bytes.
    func hasRoom(for growth: Int) -> Bool {
        guard let capacity, growth > 0 else { return true }
        var used = 0
        collect(root, path: "", \.current) { _, file in used += file.current.count }
        return used + growth <= capacity
    }

    /// Called after each change. True if the power fails now.
    func powerFailsNow(in process: SimulatedProcess) -> Bool {
        guard let planned = plannedPowerLoss else { return false }
        guard planned.operations <= 1 else {
            plannedPowerLoss = (planned.operations - 1, planned.fate)
            return false
        }
        process.end(.powerLost(planned.fate))
        return true
    }

    // MARK: Entries

    static func names(in path: String) -> [String] { path.split(separator: "/").map(String.init) }

    func node(at path: String, _ entries: KeyPath<DiskDirectory, [String: DiskNode]> = \.current)
        -> DiskNode?
    {
        var node = DiskNode.directory(root)
        for name in Self.names(in: path) {
            guard case .directory(let directory) = node,
                let next = directory[keyPath: entries][name]
            else {
                return nil
            }
            node = next
        }
        return node
    }

    /// The directory that holds, or would hold, the path's last name.
    func parent(of path: String) -> (directory: DiskDirectory, name: String)? {
        let names = Self.names(in: path)
        guard let name = names.last,
            case .directory(let directory)? = node(at: names.dropLast().joined(separator: "/"))
        else { return nil }
        return (directory, name)
    }

    /// Makes a directory in `parent`, durable at once.
    func makeDirectory(_ name: String, in parent: DiskDirectory) -> DiskDirectory {
        let directory = DiskDirectory()
        parent.current[name] = .directory(directory)
        parent.durable[name] = .directory(directory)
        return directory
    }

    func change(_ change: EntryChange) {
        switch change {
        case .link(let directory, let name, let node): directory.current[name] = node
        case .unlink(let directory, let name): directory.current[name] = nil
        case .rename(let from, let name, let to, let newName, let node):
            from.current[name] = nil
            to.current[newName] = node
        }
        pendingEntries.append(change)
    }

    /// Makes a directory's entries durable: its own changes, and of others what a rename ties to them.
    func syncEntries(of directory: DiskDirectory) {
        var touched = [directory]
        var synced: [EntryChange] = []
        var rest: [EntryChange] = []
        for change in pendingEntries.reversed() {
            if change.directories.contains(where: { one in touched.contains { $0 === one } }) {
                touched += change.directories
                synced.append(change)
            } else {
                rest.append(change)
            }
        }
        for change in synced.reversed() { change.applyToDurable() }
        pendingEntries = rest.reversed()
    }

    /// Visits all files below a directory in the order of their paths.
    private func collect(
        _ directory: DiskDirectory, path: String,
        _ entries: KeyPath<DiskDirectory, [String: DiskNode]>,
        _ visit: (String, DiskFile) -> Void
    ) {
        for (name, node) in directory[keyPath: entries].sorted(by: { $0.key < $1.key }) {
            switch node {
            case .file(let file): visit("\(path)/\(name)", file)
            case .directory(let child): collect(child, path: "\(path)/\(name)", entries, visit)
            }
        }
    }

    // MARK: Locks

    /// Nil if somebody holds it.
    func takeLock(_ path: String) -> UInt64? {
        guard locks[path] == nil else { return nil }
        lastLock += 1
        locks[path] = lastLock
        return lastLock
    }

    /// A lock of a process that has ended is somebody else's by now, or nobody's: the number tells.
    func releaseLock(_ path: String, _ number: UInt64) {
        if locks[path] == number { locks[path] = nil }
    }
}

extension DiskFile.Change {
    /// The bytes of a write, all of them.
    fileprivate var size: Int {
        switch self {
        case .write(_, let bytes): bytes.count
        case .truncate: 0
        }
    }
}
