import FlotillaIO
import FlotillaRaft

/// An open log directory: what `DiskLogStore` keeps behind its lock. Not thread-safe.
final class DiskLog {
    static let identityName = "identity"
    static let segmentDirectoryName = "log"
    static let bootName = "boot"

    let files: any FileSystem
    let directory: String
    let segmentSizeLimit: UInt64
    let makeSegmentID: @Sendable () -> UInt64
    /// What the count of boots begins with.
    let firstBoot: UInt64
    private let lock: any FileLock

    var identity: NodeIdentity?
    var table = LogTable(keepingEntries: false)
    /// Ascending; the last one is written to.
    var segments: [LogSegment] = []
    /// The last segment's file; nil until there is one.
    var file: (any File)?
    /// What the last segment's checkpoint and copies take, which does not count against the limit.
    var preludeEnd: UInt64 = 0
    var nextSequence: UInt64 = 1

    var logDirectory: String { "\(directory)/\(Self.segmentDirectoryName)" }

    /// Creates the directory if need be, and locks it.
    init(
        directory: String, files: any FileSystem, segmentSizeLimit: UInt64,
        makeSegmentID: @escaping @Sendable () -> UInt64, firstBoot: UInt64
    ) throws(LogError) {
        self.directory = directory
        self.files = files
        self.segmentSizeLimit = segmentSizeLimit
        self.makeSegmentID = makeSegmentID
        self.firstBoot = firstBoot
        lock = try DataDirectory.lock(directory, for: .log, files: files)
        do {
            try files.createDirectory(logDirectory)
        } catch {
            lock.unlock()
            throw .io(error)
        }
    }

    /// An existing directory, to be read and nothing else.
    init(reading directory: String, files: any FileSystem, lock: any FileLock) {
        self.directory = directory
        self.files = files
        self.lock = lock
        segmentSizeLimit = 0
        makeSegmentID = { preconditionFailure("a log that is only read begins no segment") }
        firstBoot = 1
    }

    func unlock() { lock.unlock() }

    /// Runs file calls and names their failure as the log's.
    func io<R>(_ body: () throws(FileError) -> R) throws(LogError) -> R {
        do { return try body() } catch { throw .io(error) }
    }
}

// MARK: Opening

extension DiskLog {
    /// Reads everything first, and changes something only when all of it can be used.
    func recover() throws(LogError) -> RecoveredLog {
        let (recovery, boot, marker) = try read()
        try io { () throws(FileError) in
            if files.exists("\(directory)/\(CleanMarker.fileName)") {
                try files.remove("\(directory)/\(CleanMarker.fileName)")
                try files.syncDirectory(directory)
            }
            try removeLeftovers()
            try writeBoot(boot + 1)
        }
        try repair(recovery, wasClosed: marker != nil)
        let groups = table.recoveredGroups
        table.dropEntries()
        return RecoveredLog(
            identity: identity, bootCounter: boot + 1, groups: groups,
            removedReplicas: table.removed,
            tornBytes: recovery.tornBytes)
    }

    /// Changes nothing on disk.
    func read() throws(LogError) -> (recovery: LogRecovery, boot: UInt64, marker: CleanMarker?) {
        identity = try readIdentity()
        let boot = try readBoot()
        let marker = try readMarker()
        var recovery = LogRecovery(
            files: files, directory: logDirectory, instance: identity?.instance ?? 0, marker: marker)
        if identity == nil {
            let numbers = try LogRecovery.segmentNumbers(in: logDirectory, files: files)
            guard numbers.isEmpty else {
                throw .missing("\(directory)/\(Self.identityName)", "the directory holds a log")
            }
        }
        try recovery.run()
        table = recovery.table
        segments = recovery.segments
        nextSequence = recovery.nextSequence
        return (recovery, boot, marker)
    }

    private func repair(_ recovery: LogRecovery, wasClosed: Bool) throws(LogError) {
        guard let last = segments.last else { return }
        try io { () throws(FileError) in
            if !wasClosed { try writeAgain(last) }
            if recovery.lacksSeal {
                try seal(segments[segments.count - 2], sequence: nextSequence - 1)
            }
            let file = try files.open(
                "\(logDirectory)/\(LogFormat.segmentName(last.number))", create: false)
            if recovery.tornBytes > 0, !recovery.isAmbiguous, !mutated(.keepsTornTail) {
                try file.truncate(to: last.end)
                try file.sync()
            }
            self.file = file
            preludeEnd = UInt64(LogFormat.segmentHeaderBytes)
        }
        if recovery.isAmbiguous { try startSegment() }
    }

    /// What was read is what the system has in its cache. The process may have ended before its fsync, or after one that
    /// failed, and then the system takes for clean what no later fsync brings to the disk (Rebello et al., 2020): only
    /// what is written anew and synced is known to be there. Damage goes along, until it is decided what it means.
    private func writeAgain(_ segment: LogSegment) throws(FileError) {
        let name = LogFormat.segmentName(segment.number)
        let bytes = try files.readWhole("\(logDirectory)/\(name)")
        try files.writeWhole(bytes, to: name, in: logDirectory)
    }

    /// Leaves the marker of a clean shutdown.
    func markClean() throws(LogError) {
        let marker = CleanMarker(segment: segments.last?.number ?? 0, end: segments.last?.end ?? 0)
        try io { () throws(FileError) in
            try SealedFile.clean.write(
                marker.encoded, to: CleanMarker.fileName, in: directory, files: files)
        }
    }
}
