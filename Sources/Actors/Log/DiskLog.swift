import FlotillaIO
import FlotillaRaft

/// An open log directory: what `DiskLogStore` keeps behind its lock. Not thread-safe.
final class DiskLog {
    static let identityName = "identity"
    static let segmentDirectoryName = "log"
    static let bootName = "boot"
    /// Large enough that the metadata of growth hardly counts, small enough to be written beside a batch.
    static let growthMax: UInt64 = 1 << 20

    let files: any FileSystem
    let directory: String
    let segmentSizeLimit: UInt64
    /// Payloads of more bytes are in files of their own.
    let payloadFileLimit: Int
    /// Files grow by multiples of this, in bytes.
    let growth: UInt64
    let makeSegmentID: @Sendable () -> UInt64
    /// What the count of boots begins with.
    let firstBoot: UInt64
    private let lock: any FileLock

    /// What readers see as well.
    let index = DiskLogIndex()
    var table: LogTable { index.withContents { $0.table } }
    /// Ascending; the last one is written to.
    var segments: [LogSegment] {
        get { index.withContents { $0.segments } }
        set { index.withContents { $0.segments = newValue } }
    }
    var identity: NodeIdentity?
    /// The last segment's file; nil until there is one.
    var file: (any File)?
    /// Files in `logDirectory` that wait to be a segment again.
    var spares: [SpareFile] = []
    /// Segments of which entries are damaged: they are set aside when nothing in them is live.
    var damagedSegments: Set<UInt64> = []
    /// Whether groups without other voters go on without what they lost.
    let acceptsLoss: Bool
    /// What the last segment's checkpoint and copies take, which does not count against the limit.
    var preludeEnd: UInt64 = 0
    var nextSequence: UInt64 = 1

    var logDirectory: String { "\(directory)/\(Self.segmentDirectoryName)" }

    /// Creates the directory if need be, and locks it.
    init(
        directory: String, files: any FileSystem, segmentSizeLimit: UInt64, payloadFileLimit: Int,
        makeSegmentID: @escaping @Sendable () -> UInt64, firstBoot: UInt64, acceptsLoss: Bool
    ) throws(LogError) {
        self.directory = directory
        self.files = files
        self.segmentSizeLimit = segmentSizeLimit
        growth = min(Self.growthMax, max(1, segmentSizeLimit / 16))
        self.payloadFileLimit = payloadFileLimit
        self.makeSegmentID = makeSegmentID
        self.firstBoot = firstBoot
        self.acceptsLoss = acceptsLoss
        lock = try DataDirectory.lock(directory, for: .log, files: files)
        do {
            try files.createDirectory(logDirectory)
            try files.createDirectory(payloads.path)
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
        payloadFileLimit = 0
        growth = 1
        makeSegmentID = { preconditionFailure("a log that is only read begins no segment") }
        firstBoot = 1
        acceptsLoss = false
    }

    func unlock() { lock.unlock() }

    /// Runs file calls and names their failure as the log's.
    func io<R>(_ body: () throws(FileError) -> R) throws(LogError) -> R {
        do { return try body() } catch { throw .io(error) }
    }

    /// The same for calls that take room on the disk and after whose failure everything is as it was.
    func growing<R>(_ body: () throws(FileError) -> R) throws(LogError) -> R {
        do { return try body() } catch { throw .growing(error) }
    }
}

// MARK: Opening

extension DiskLog {
    /// Reads everything first, and changes something only when all of it can be used.
    func recover() throws(LogError) -> RecoveredLog {
        let (recovery, boot, marker) = try read()
        try findSpares()
        try io { () throws(FileError) in
            if files.exists("\(directory)/\(CleanMarker.fileName)") {
                try files.remove("\(directory)/\(CleanMarker.fileName)")
                try files.syncDirectory(directory)
            }
            try removeLeftovers()
            try writeBoot(boot + 1)
        }
        try repair(recovery, wasClosed: marker != nil)
        // Not before: what says that they are obsolete may have been in the system's cache alone.
        try removeUnnamedPayloads()
        return RecoveredLog(
            identity: identity, bootCounter: boot + 1, groups: table.recoveredGroups,
            removedReplicas: table.removed,
            tornBytes: recovery.tornBytes, damages: recovery.damages, keptFiles: try keepNewestDamagedFiles())
    }

    /// Changes nothing on disk.
    func read() throws(LogError) -> (recovery: LogRecovery, boot: UInt64, marker: CleanMarker?) {
        identity = try readIdentity()
        let boot = try readBoot()
        let marker = try readMarker()
        var recovery = LogRecovery(
            files: files, directory: logDirectory, instance: identity?.instance ?? 0, marker: marker,
            acceptsLoss: acceptsLoss)
        if identity == nil {
            let numbers = try LogRecovery.segmentNumbers(in: logDirectory, files: files)
            guard numbers.isEmpty else {
                throw .missing("\(directory)/\(Self.identityName)", "the directory holds a log")
            }
        }
        try recovery.run()
        try recovery.checkPayloads(in: payloads)
        try recovery.cutLosses()
        index.withContents { $0 = .init(table: recovery.table, segments: recovery.segments) }
        damagedSegments = recovery.damagedSegments
        nextSequence = segments.isEmpty ? Self.firstSequence(ofBoot: firstBoot) : recovery.nextSequence
        return (recovery, boot, marker)
    }

    /// Data that was moved here has a history of writes that peers remember: the count goes on above it.
    private static func firstSequence(ofBoot boot: UInt64) -> UInt64 { ((boot - 1) << 40) + 1 }

    private func repair(_ recovery: LogRecovery, wasClosed: Bool) throws(LogError) {
        guard let last = segments.last else { return }
        try io { () throws(FileError) in
            if !wasClosed { try writeAgain(last, asItIs: recovery.isAmbiguous) }
            if recovery.lacksSeal {
                try seal(segments[segments.count - 2], sequence: nextSequence - 1)
            }
            file = try files.open("\(logDirectory)/\(LogFormat.segmentName(last.number))", create: false)
            preludeEnd = UInt64(LogFormat.segmentHeaderBytes)
        }
        if recovery.needsCheckpoint || damagedSegments.contains(last.number) { try startSegment() }
        try emptyDamagedSegments()
    }

    /// What was read is what the system has in its cache. The process may have ended before its fsync, or after one that
    /// failed, and then the system takes for clean what no later fsync brings to the disk (Rebello et al., 2020): only
    /// what is written anew and synced is known to be there.
    /// - Parameter asItIs: damage goes along, until it is decided what it means; otherwise zeros take its place.
    private func writeAgain(_ segment: LogSegment, asItIs: Bool) throws(FileError) {
        let name = LogFormat.segmentName(segment.number)
        var bytes = try files.readWhole("\(logDirectory)/\(name)")
        if !asItIs {
            bytes.removeSubrange(Int(segment.end)...)
            let size = grown(toHold: segment.end + UInt64(LogFormat.reservedBytes))
            bytes += [UInt8](repeating: 0, count: Int(size - segment.end))
        }
        try files.writeWhole(bytes, to: name, in: logDirectory)
        segments[segments.count - 1].fileBytes = UInt64(bytes.count)
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
