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
            let result = try copy(recovered, of: store)
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

    private func copy(_ recovered: RecoveredLog, of store: any LogStore) throws(LogError) -> Result {
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
            for group in recovered.groups { try write(group, of: store, to: copy) }
            for group in recovered.groups { try compare(group, of: store, with: copy) }
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

    private func write(
        _ group: RecoveredLog.Group, of store: any LogStore, to copy: any LogStore
    ) throws(LogError) {
        let (id, incarnation) = (group.replica.group, group.replica.incarnation)
        try copy.write(.init(group: id, incarnation: incarnation, created: group.replica))
        // What the snapshot covers comes as entries first, and is then compacted as it was.
        let base = group.outline.base
        if base.index > .zero, let snapshot = group.snapshot {
            let start = SnapshotMetadata(index: base.index, term: base.term, configuration: snapshot.configuration)
            try copy.write(.init(group: id, incarnation: incarnation, snapshot: start))
        }
        try eachPage(of: group, in: store) { page throws(LogError) in
            try copy.write(.init(group: id, incarnation: incarnation, entries: page))
        }
        try copy.write(
            .init(
                group: id, incarnation: incarnation, hardState: group.hardState, snapshot: group.snapshot,
                keptFrom: base.index.next))
    }

    private func eachPage(
        of group: RecoveredLog.Group, in store: any LogStore, _ body: ([Entry]) throws(LogError) -> Void
    ) throws(LogError) {
        var next = group.outline.base.index.next
        while next <= group.outline.last {
            let page = try store.read(
                group.replica.group, incarnation: group.replica.incarnation, from: next, bytesMax: Self.batchBytes)
            guard let last = page.last else {
                throw LogError(.damaged, "entry \(next) of \(group.replica.key) in \(source) cannot be read any more")
            }
            try body(page)
            next = last.index.next
        }
    }

    /// Reads the entries of both: nothing is given up before it is known to be in the other place.
    private func compare(
        _ group: RecoveredLog.Group, of store: any LogStore, with copy: any LogStore
    ) throws(LogError) {
        try eachPage(of: group, in: store) { page throws(LogError) in
            var rest = page[...]
            while let first = rest.first {
                let written = try copy.read(
                    group.replica.group, incarnation: group.replica.incarnation, from: first.index,
                    bytesMax: Self.batchBytes
                ).prefix(rest.count)
                guard !written.isEmpty, rest.starts(with: written) else { throw differs }
                rest = rest.dropFirst(written.count)
            }
        }
    }

    private var differs: LogError {
        LogError(
            .damaged,
            "\(aside) was written and does not read as \(source): the disk is not to be trusted; \(source) "
                + "is as it was")
    }

    /// Opens the copy as a start would, and checks all of it.
    private func compare(_ recovered: RecoveredLog) throws(LogError) -> Result {
        let report = try StorageVerification.run(on: aside, files: files)
        if let problem = report.problems.first { throw problem }
        let isEqual =
            report.identity == recovered.identity && report.removedReplicas == recovered.removedReplicas
            && report.groups.elementsEqual(recovered.groups) { copy, original in
                copy.replica == original.replica && copy.hardState == original.hardState
                    && copy.snapshot == original.snapshot && copy.outline == original.outline
            }
        guard isEqual else { throw differs }
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
