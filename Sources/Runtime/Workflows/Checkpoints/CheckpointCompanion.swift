import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Brings a member that lags the history that belongs to a snapshot: of each key the records that it does not have.
/// Questions and answers are `CheckpointQuestion` and `CheckpointPage` in workflow.proto.
final class CheckpointCompanion: StateCompanion {
    /// Records of a key that are missing here.
    struct Need: Hashable {
        var key: CheckpointKey
        /// The first sequence number that is missing.
        var from: UInt64
        /// The number behind the key's last record in the snapshot.
        var count: UInt64
    }

    private struct Progress {
        /// Of which state.
        var checksum: UInt32
        var needs: [Need]
    }

    /// A question names so many keys at most, and an answer takes so many bytes, or one record.
    private static let keysMax = 256
    private static let answerBytesMax = 1 << 20

    private let group: GroupID
    private let journal: CheckpointJournal
    /// What is being asked for. Forgotten by a restart, and found again.
    private let progress = Lock<Progress?>(nil)

    init(group: GroupID, journal: CheckpointJournal) {
        self.group = group
        self.journal = journal
    }

    // MARK: Asking

    func question(for state: [UInt8], formatVersion: UInt32) throws(LogError) -> [UInt8]? {
        let checksum = CRC32C.checksum(state)
        var needs: [Need]
        if let known = progress.withLock({ $0 }), known.checksum == checksum {
            needs = known.needs
        } else {
            needs = try self.needs(for: state, formatVersion: formatVersion)
            progress.withLock { [needs] in $0 = Progress(checksum: checksum, needs: needs) }
        }
        guard !needs.isEmpty else {
            try journal.sync()
            progress.withLock { $0 = nil }
            return nil
        }
        var writer = ProtobufWriter()
        for need in needs.prefix(Self.keysMax) {
            writer.message(1) { writer in
                need.key.write(to: &writer)
                writer.varint(6, need.from)
                writer.varint(7, need.count)
            }
        }
        return writer.bytes
    }

    private func needs(for bytes: [UInt8], formatVersion: UInt32) throws(LogError) -> [Need] {
        let state: WorkflowState
        do {
            state = try WorkflowSnapshot.state(from: bytes, formatVersion: formatVersion)
        } catch {
            throw LogError(.unknownVersion, "a snapshot that was fetched cannot be read: \(error)")
        }
        return try journal.withStore { store throws(LogError) in
            var needs: [Need] = []
            for (key, run) in state.recordedRuns {
                let owner = run.checkpointRun(key, in: group)
                for series in run.historySeries {
                    let key = CheckpointKey(run: owner, name: series.name)
                    // Records come in their order, here as there, so the last one tells what is missing.
                    let from = try store.latest(of: key).map { $0.sequence + 1 } ?? 0
                    if from < series.end { needs.append(Need(key: key, from: from, count: series.end)) }
                }
            }
            return needs
        }
    }

    func take(_ answer: [UInt8]) throws(LogError) {
        var records: [CheckpointChange] = []
        var finished: UInt64 = 0
        do throws(WireError) {
            var reader = ProtobufReader(answer)
            while let field = try reader.next() {
                switch field {
                case 1:
                    var inner = try reader.message()
                    records.append(try CheckpointChange(from: &inner))
                case 2: finished = try reader.varint()
                default: throw reader.unknownField(in: "an answer about checkpoints")
                }
            }
        } catch {
            throw LogError(.damaged, "an answer about checkpoints cannot be decoded (\(error))")
        }
        try journal.withStore { [records] store throws(LogError) in try store.apply(records) }
        progress.withLock { progress in
            guard var known = progress else { return }
            known.needs.removeFirst(min(Int(clamping: finished), known.needs.count))
            if case .append(let key, let last)? = records.last, known.needs.first?.key == key {
                known.needs[0].from = last.sequence + 1
            }
            progress = known
        }
    }

    // MARK: Answering

    /// The keys in the order of the question. A key whose run has gone since, or whose first records were pruned, is
    /// finished with what there is.
    func answer(to question: [UInt8]) throws(LogError) -> [UInt8] {
        let needs: [Need]
        do {
            needs = try Self.needs(in: question)
        } catch {
            throw LogError(.damaged, "a question about checkpoints cannot be decoded (\(error))")
        }
        return try journal.withStore { store throws(LogError) in
            var writer = ProtobufWriter()
            var finished: UInt64 = 0
            for need in needs {
                let room = Self.answerBytesMax - writer.bytes.count
                guard room > 0 else { break }
                let limit = Int(clamping: need.count - min(need.from, need.count))
                let records = try store.history(of: need.key, from: need.from, limit: limit, bytesMax: room)
                    .filter { $0.sequence < need.count }
                for record in records {
                    writer.bytes(1, CheckpointChange.append(need.key, record).encoded)
                }
                let next = records.last.map { $0.sequence + 1 } ?? need.from
                let rest = try store.history(of: need.key, from: next, limit: 1, bytesMax: 1)
                guard next >= need.count || rest.isEmpty || rest[0].sequence >= need.count else { break }
                finished += 1
            }
            writer.varint(2, finished)
            return writer.bytes
        }
    }

    private static func needs(in question: [UInt8]) throws(WireError) -> [Need] {
        var needs: [Need] = []
        var reader = ProtobufReader(question)
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "a question about checkpoints") }
            var inner = try reader.message()
            var parts = CheckpointKeyParts()
            var (from, count) = (UInt64(0), UInt64(0))
            while let field = try inner.next() {
                switch field {
                case 6: from = try inner.varint()
                case 7: count = try inner.varint()
                default: try parts.read(field, from: &inner)
                }
            }
            needs.append(Need(key: try parts.key, from: from, count: count))
        }
        return needs
    }
}
