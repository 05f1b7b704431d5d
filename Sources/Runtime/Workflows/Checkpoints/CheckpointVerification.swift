import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Reads all of the history of checkpoints of a node that is stopped, and holds it against the node's snapshots. What is
/// behind a snapshot need not be there: a start of the node applies it again.
struct CheckpointVerification {
    private(set) var runs = 0
    private(set) var keys = 0
    private(set) var records = 0
    /// What is wrong, and what can be done.
    private(set) var problems: [LogError] = []

    private var path = ""
    /// Of each key the sequence number behind its last record.
    private var ends: [CheckpointKey: UInt64] = [:]
    /// Of steps, which numbers have no record; the state says which may have none.
    private var gaps: [CheckpointKey: [Range<UInt64>]] = [:]

    /// Nothing was read.
    init() {}

    /// Blocks.
    init(of report: StorageReport, _ stored: StoredEntries, files: any FileSystem) {
        path = DataDirectory.historyDirectory(of: report.directory)
        do throws(LogError) {
            if files.exists(path) {
                let store = try RocksDBCheckpointStore(directory: report.directory, isReadOnly: true)
                defer { store.close() }
                try store.visit { read($0, $1) }
            }
            for group in report.groups where group.replica.kind == .workflow {
                try compare(report, group, stored, files)
            }
        } catch {
            problems.append(error)
        }
        keys = ends.count
        runs = Set(ends.keys.map(\.run)).count
    }

    private mutating func read(_ bytes: [UInt8], _ value: [UInt8]) {
        records += 1
        guard let (key, sequence) = CheckpointKey.decode(bytes) else {
            return damaged("record \(records) has a key that makes no sense")
        }
        if (try? CheckpointRecord(sequence: sequence, decoding: value)) == nil {
            damaged("record \(sequence) of '\(key.name)' of \(key.run.run) cannot be decoded")
        }
        if StepArchive.isSeries(key.name) {
            let end = ends[key] ?? 0
            if end < sequence { gaps[key, default: []].append(end..<sequence) }
        } else if let end = ends[key], end != sequence {
            // The first ones may have been pruned.
            damaged("records \(end) to \(sequence - 1) of '\(key.name)' of \(key.run.run) are missing")
        }
        ends[key] = sequence + 1
    }

    private mutating func compare(
        _ report: StorageReport, _ group: RecoveredLog.Group, _ stored: StoredEntries, _ files: any FileSystem
    ) throws(LogError) {
        guard let snapshot = try report.state(of: group, files: files) else { return }
        let state: WorkflowState
        do {
            state = try WorkflowSnapshot.state(from: snapshot.bytes, formatVersion: snapshot.formatVersion)
        } catch {
            throw LogError(
                .unknownVersion,
                "the snapshot of \(group.replica.group) cannot be read, so the history of checkpoints was not compared "
                    + "with it: \(error)")
        }
        // What is removed leaves at once, and the snapshot still names it.
        let mayLackRuns = try Self.removesRuns(group, stored)
        for (_, id) in state.startOrder.elements {
            guard let run = state.runs[id] else { continue }
            let owner = run.checkpointRun(id, in: group.replica.group)
            compareSteps(of: run, id, owner)
            for series in run.historySeries {
                let end = ends[CheckpointKey(run: owner, name: series.name)] ?? 0
                guard end < series.end, end > 0 || !mayLackRuns else { continue }
                damaged(
                    "'\(series.name)' of \(id) has \(series.end) records by the snapshot at "
                        + "\(group.snapshot?.index.description ?? "0"), and those from \(end) on are missing")
            }
        }
    }

    /// Steps that the state counts on, and that are not there although later ones are.
    private mutating func compareSteps(of run: Run, _ id: RunKey, _ owner: CheckpointRun) {
        for (name, archive) in run.archives?.sorted() ?? [] {
            for gap in gaps[CheckpointKey(run: owner, name: StepArchive.series(of: name))] ?? [] {
                guard let lost = archive.first(from: gap.lowerBound), lost < gap.upperBound else { continue }
                damaged("step \(name)#\(lost) of \(id) is missing")
            }
        }
    }

    /// Whether that is done behind the snapshot.
    private static func removesRuns(_ group: RecoveredLog.Group, _ stored: StoredEntries) throws(LogError) -> Bool {
        var next = (group.snapshot?.index ?? .zero).next
        while true {
            let page = try stored(group.replica, next)
            guard let last = page.last else { return false }
            if page.contains(where: { removesRuns($0) }) { return true }
            next = last.index.next
        }
    }

    private static func removesRuns(_ entry: Entry) -> Bool {
        guard entry.kind == .command, let command = try? Command(decoding: entry.payload) else { return false }
        return command.operations.contains { operation in
            switch try? WorkflowOperation(operation) {
            case .pruneRun?, .pruneFinished?: true
            default: false
            }
        }
    }

    private mutating func damaged(_ what: String) { problems.append(.damagedCheckpoints(path, what)) }
}

extension CheckpointKey {
    /// Reads what `bytes(sequence:)` wrote; nil where it did not write this.
    static func decode(_ bytes: [UInt8]) -> (key: CheckpointKey, sequence: UInt64)? {
        var rest = bytes[...]
        func number() -> UInt64? {
            guard rest.count >= 8 else { return nil }
            defer { rest = rest.dropFirst(8) }
            return rest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
        func take(_ count: UInt64) -> [UInt8]? {
            guard count <= UInt64(rest.count) else { return nil }
            defer { rest = rest.dropFirst(Int(count)) }
            return Array(rest.prefix(Int(count)))
        }
        func text() -> String? {
            number().flatMap(take).flatMap { String(validating: $0, as: UTF8.self) }
        }
        guard let group = number(), let namespace = text(), let workflowID = text(),
            let runID = take(16).flatMap({ RunID(bytes: $0) }), let name = text(), let sequence = number(), rest.isEmpty
        else { return nil }
        let run = CheckpointRun(group: GroupID(group), run: RunKey(namespace, workflowID), runID: runID)
        return (CheckpointKey(run: run, name: ByteText(name)), sequence)
    }
}
