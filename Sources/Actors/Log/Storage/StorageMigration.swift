public import FlotillaIO
import FlotillaRaft

/// Moves a node's data to another directory in a format of choice, while the node is stopped.
///
/// The data is in one place at any time: two nodes on the two copies would break each other's promises. So the new
/// directory is written aside and compared first; then the old one is marked as moved, for good; then the new one gets
/// its name. Whatever ends the process on the way, one call more finishes it.
public struct StorageMigration {
    /// What was moved.
    public struct Result: Hashable, Sendable {
        public var groups = 0
        public var entries = 0
        public var snapshots = 0
    }

    private static let batchBytes = 4 << 20
    private static let asideSuffix = ".migrating"

    private let source: String
    private let target: String
    private let format: StorageFormat
    private let files: any FileSystem

    public init(from source: String, to target: String, format: StorageFormat, files: any FileSystem) {
        self.source = source
        self.target = target
        self.format = format
        self.files = files
    }

    private var aside: String { target + Self.asideSuffix }

    /// Blocks.
    /// - Throws: `missing`, `inUse`, `moved`, `notEmpty`, `recovering`, and what opening the data throws.
    public func run() throws(LogError) -> Result {
        let sourceFormat = try DataDirectory.existingFormat(of: source, files: files)
        if let result = try finishEarlierRun() { return result }
        try checkEmpty(target, "choose another directory, or empty this one")
        try checkEmpty(aside, "an earlier migration did not come to its end: delete it, then try again")
        let store = sourceFormat.store(in: source, files: files)
        let recovered = try store.open()
        do throws(LogError) {
            let result = try copy(recovered)
            try io { () throws(FileError) in
                try SealedFile.moved.write(
                    Array(target.utf8), to: DataDirectory.movedName, in: source, files: files)
            }
            try publish()
            try store.close()
            return result
        } catch {
            try? store.close()
            throw error
        }
    }

    /// The process ended between the mark and the new name.
    private func finishEarlierRun() throws(LogError) -> Result? {
        guard let place = try DataDirectory.movedTo(source, files: files) else { return nil }
        guard files.exists(place + Self.asideSuffix) else {
            throw LogError(.moved, "the data of \(source) was moved to \(place) before: use that, and delete this")
        }
        guard place == target else {
            throw LogError(
                .moved, "the data of \(source) is on its way to \(place): end that first, by --to \(place)")
        }
        let lock = try DataDirectory.lockExisting(source, files: files)
        defer { lock.unlock() }
        let result = Result(try StorageVerification.run(on: aside, files: files))
        try publish()
        return result
    }

    private func publish() throws(LogError) {
        try io { () throws(FileError) in
            try files.rename(aside, to: target)
            try files.syncDirectory(parent(of: target))
        }
    }

    private func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private func checkEmpty(_ directory: String, _ advice: String) throws(LogError) {
        guard files.exists(directory) else { return }
        let names = try io { () throws(FileError) in try files.list(directory) }
        guard names.isEmpty else { throw LogError(.notEmpty, "\(directory) is not empty: \(advice)") }
    }

    // MARK: Copying

    private func copy(_ recovered: RecoveredLog) throws(LogError) -> Result {
        guard let identity = recovered.identity else {
            throw LogError(.missing, "\(source) belongs to no node yet: there is nothing to migrate")
        }
        if let group = recovered.groups.first(where: { $0.recoveringUntil != nil }) {
            throw LogError(
                .recovering,
                "\(group.replica.group) in \(source) is recovering from a damaged end of its log: start the node, let "
                    + "it catch up with its leader, stop it, then migrate")
        }
        // Peers remember the highest boot that they saw: the count goes on.
        let copy = format.store(in: aside, files: files, firstBoot: recovered.bootCounter)
        _ = try copy.open()
        do throws(LogError) {
            try copy.persistIdentity(identity)
            for removed in recovered.removedReplicas {
                try copy.write(.init(group: removed.group, incarnation: removed.incarnation, created: removed))
                try copy.write(.init(group: removed.group, incarnation: removed.incarnation, isRemoved: true))
            }
            for group in recovered.groups { try write(group, to: copy) }
            try copy.close()
        } catch {
            try? copy.close()
            throw error
        }
        try copySnapshots(of: recovered)
        try copyHistory()
        return try compare(recovered)
    }

    /// Those that the log names, as they are.
    private func copySnapshots(of recovered: RecoveredLog) throws(LogError) {
        let (from, to) = (DataDirectory.snapshotDirectory(of: source), DataDirectory.snapshotDirectory(of: aside))
        try io { () throws(FileError) in
            try files.createDirectory(to)
            for group in recovered.groups {
                guard let snapshot = group.snapshot else { continue }
                let name = SnapshotID(group.replica, snapshot).fileName
                try files.writeWhole(try files.readWhole("\(from)/\(name)"), to: name, in: to)
            }
        }
    }

    /// The files of the history of checkpoints, as they are.
    private func copyHistory() throws(LogError) {
        let (from, to) = (DataDirectory.historyDirectory(of: source), DataDirectory.historyDirectory(of: aside))
        try io { () throws(FileError) in
            guard files.exists(from) else { return }
            try files.createDirectory(to)
            for name in try files.list(from) where name != "LOCK" {
                try files.writeWhole(try files.readWhole("\(from)/\(name)"), to: name, in: to)
            }
        }
    }

    private func write(_ group: RecoveredLog.Group, to copy: any LogStore) throws(LogError) {
        let (id, incarnation) = (group.replica.group, group.replica.incarnation)
        try copy.write(
            .init(
                group: id, incarnation: incarnation, created: group.replica, hardState: group.hardState,
                snapshot: group.snapshot))
        var rest = group.entries[...]
        while !rest.isEmpty {
            var bytes = 0
            let piece = rest.prefix { entry in
                defer { bytes += entry.payload.count + LogTable.entryOverheadBytes }
                return bytes < Self.batchBytes
            }
            rest = rest.dropFirst(piece.count)
            try copy.write(.init(group: id, incarnation: incarnation, entries: Array(piece)))
        }
    }

    /// Reads the copy back: nothing is given up before it is known to be in the other place.
    private func compare(_ recovered: RecoveredLog) throws(LogError) -> Result {
        let report = try StorageVerification.run(on: aside, files: files)
        if let problem = report.problems.first { throw problem }
        let isEqual =
            report.identity == recovered.identity && report.removedReplicas == recovered.removedReplicas
            && report.groups.elementsEqual(recovered.groups) { copy, original in
                copy.replica == original.replica && copy.hardState == original.hardState
                    && copy.snapshot == original.snapshot && copy.entries == original.entries
            }
        guard isEqual else {
            throw LogError(
                .damaged,
                "\(aside) was written and does not read as \(source): the disk is not to be trusted; \(source) "
                    + "is as it was")
        }
        return Result(report)
    }

    private func io<R>(_ body: () throws(FileError) -> R) throws(LogError) -> R {
        do { return try body() } catch { throw .io(error) }
    }
}

extension StorageMigration.Result {
    fileprivate init(_ report: StorageReport) {
        self.init(groups: report.groups.count, entries: report.entries, snapshots: report.snapshots)
    }
}

extension LogStore {
    fileprivate func write(_ write: LogBatch.Write) throws(LogError) {
        var batch = LogBatch()
        batch.writes = [write]
        try self.write(batch)
    }
}
