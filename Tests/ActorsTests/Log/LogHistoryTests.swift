import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Random histories against a plain model, with crashes at every change of a file.
@Suite struct LogHistoryTests {
    /// The promises of `LogStore.write`, as plainly as they can be said.
    private struct Reference {
        private struct Life: Hashable {
            var group: UInt64
            var incarnation: UInt64
        }
        private var groups: [Life: Holdings.Group] = [:]
        private var removed: [ReplicaIdentity] = []

        mutating func apply(_ batch: LogBatch) {
            for write in batch.writes { apply(write) }
        }

        private mutating func apply(_ write: LogBatch.Write) {
            let life = Life(group: write.group.rawValue, incarnation: write.incarnation)
            var group =
                groups[life]
                ?? Holdings.Group(
                    replica: write.created!, hardState: HardState(), snapshot: nil, entries: [],
                    recoveringUntil: nil)
            if let snapshot = write.snapshot {
                let isHeld = group.entries.contains {
                    $0.index == snapshot.index && $0.term == snapshot.term
                }
                group.entries = isHeld ? group.entries.filter { $0.index > snapshot.index } : []
                group.snapshot = snapshot
            }
            if let first = write.entries.first {
                group.entries.removeAll { $0.index >= first.index }
            }
            group.entries += write.entries
            group.hardState = write.hardState ?? group.hardState
            groups[life] = write.isRemoved ? nil : group
            if write.isRemoved { removed.append(group.replica) }
        }

        var holdings: Holdings {
            let sorted = groups.sorted {
                ($0.key.group, $0.key.incarnation) < ($1.key.group, $1.key.incarnation)
            }
            return Holdings(groups: sorted.map(\.value), removed: removed)
        }
    }

    /// Draws writes that a node could make.
    private struct History {
        private struct Life {
            var incarnation: UInt64
            var base: UInt64 = 0
            /// Of the entries behind `base`.
            var terms: [UInt64] = []
            var term: UInt64 = 1
            var last: UInt64 { base + UInt64(terms.count) }
        }

        private var random: SeededGenerator
        private var lives: [UInt64: Life] = [:]
        private var nextIncarnation: UInt64 = 1

        init(seed: UInt64) { random = SeededGenerator(seed: seed) }

        mutating func next() -> LogBatch {
            var batch = LogBatch()
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let group = UInt64.random(in: 1...4, using: &random)
                guard var life = lives[group] else {
                    batch.writes.append(.of(group, incarnation: nextIncarnation, create: 1))
                    lives[group] = Life(incarnation: nextIncarnation)
                    nextIncarnation += 1
                    continue
                }
                // The last group is slow.
                if group == 4, Int.random(in: 0..<20, using: &random) > 0 { continue }
                let write = draw(group, &life)
                batch.writes.append(write)
                lives[group] = write.isRemoved ? nil : life
            }
            return batch
        }

        private mutating func draw(_ group: UInt64, _ life: inout Life) -> LogBatch.Write {
            var write = LogBatch.Write.of(group, incarnation: life.incarnation)
            switch Int.random(in: 0..<20, using: &random) {
            case 0: write.isRemoved = true
            case 1...3 where !life.terms.isEmpty:
                let index = UInt64.random(in: life.base + 1...life.last, using: &random)
                write.snapshot = sampleSnapshot(index, term: life.terms[Int(index - life.base) - 1])
                life.terms.removeFirst(Int(index - life.base))
                life.base = index
            case 4:
                life.base = .random(in: life.base + 1...life.last + 3, using: &random)
                life.term += 1
                write.snapshot = sampleSnapshot(life.base, term: life.term)
                life.terms = []
                fallthrough
            case 5...6:
                life.term += 1
                write.hardState = HardState(
                    term: Term(life.term), vote: ReplicaID(3), commit: LogIndex(life.base))
            default:
                let first = UInt64.random(
                    in: max(life.base, life.last < 2 ? 0 : life.last - 2) + 1...life.last + 1,
                    using: &random)
                if first <= life.last { life.term += 1 }
                let last = first + .random(in: 0...5, using: &random)
                write.entries = sampleEntries(first...last, term: life.term, "group \(group)")
                life.terms.removeLast(Int(life.last + 1 - first))
                life.terms += Array(repeating: life.term, count: Int(last - first) + 1)
            }
            return write
        }
    }

    private func store(on files: PowerLossFileSystem, limit: UInt64) -> DiskLogStore {
        // Entries from the tenth on have a payload that is longer.
        DiskLogStore(directory: "/data", fileSystem: files, segmentSizeLimit: limit, payloadFileLimit: 9)
    }

    @Test(
        "a random history read back is the history written, over many restarts",
        arguments: [1, 200, 1000, 1 << 20])
    func restarts(limit: UInt64) throws {
        let seed = Simulation.seeds(1)[0]
        var history = History(seed: seed)
        let files = PowerLossFileSystem()
        var model = Reference()
        let memory = MemoryLogStore()
        _ = try memory.open()
        try memory.persistIdentity(sampleIdentity)
        for round in 1...30 {
            let store = store(on: files, limit: limit)
            let log = try store.openAndRead()
            let note: Comment = "FLOTILLA_SEED=\(seed), round \(round)"
            #expect(Holdings(log) == model.holdings, note)
            #expect(Holdings(try StoredLog(memory.contents, in: memory)) == model.holdings, note)
            #expect(log.bootCounter == UInt64(round))
            try store.persistIdentity(sampleIdentity)
            for _ in 0..<12 {
                let batch = history.next()
                model.apply(batch)
                try memory.write(batch)
                try store.write(batch)
            }
            if round % 3 == 0 {
                try store.close()
            } else {
                files.losePower()
            }
        }
    }

    @Test(
        "RM-08: a crash at any change of any file leaves what was acknowledged, and the batch in flight whole or not at all",
        arguments: PowerLossFileSystem.Unsynced.allCases)
    func crashAnywhere(unsynced: PowerLossFileSystem.Unsynced) throws {
        let seed = Simulation.seeds(1)[0]
        var crashes = 0
        var recovering = 0
        for changes in 0... {
            let files = PowerLossFileSystem()
            files.state.withLock { $0.changesLeft = changes }
            let note: Comment = "FLOTILLA_SEED=\(seed), crash after \(changes) changes"
            var history = History(seed: seed)
            var model = Reference()
            var allowed = [model.holdings]
            do {
                let store = store(on: files, limit: 250)
                _ = try store.open()
                try store.persistIdentity(sampleIdentity)
                for _ in 0..<25 {
                    let batch = history.next()
                    model.apply(batch)
                    allowed.append(model.holdings)
                    try store.write(batch)
                    allowed.removeFirst()
                }
                try store.close()
                break
            } catch {
                crashes += 1
                #expect(error.code == .ioFailed, note)
            }
            files.losePower(unsynced: unsynced)
            let second = store(on: files, limit: 250)
            let log = try second.openAndRead()
            if unsynced.mayBeAmbiguous, log.groups.contains(where: { $0.recoveringUntil != nil }) {
                recovering += 1
                expectPrefixes(Holdings(log), of: allowed, note)
            } else {
                #expect(allowed.contains(Holdings(log)), note)
            }
            // It goes on, and once more.
            try second.persistIdentity(sampleIdentity)
            try second.write(LogBatch(.of(99, create: 1, sampleEntries(1...3))))
            files.losePower()
            let last = try store(on: files, limit: 250).openAndRead()
            #expect(last.groups.last?.entries == sampleEntries(1...3), note)
            #expect(last.groups.dropLast().map(\.entries) == log.groups.map(\.entries), note)
        }
        #expect(crashes > 100)
        if unsynced == .middleLost { #expect(recovering > 0, "FLOTILLA_SEED=\(seed)") }
    }

    /// Each replica has its last acknowledged log or the one after, or a beginning of it and knows so.
    private func expectPrefixes(_ found: Holdings, of allowed: [Holdings], _ note: Comment) {
        for group in found.groups {
            let candidates = allowed.compactMap { $0.groups.first { $0.replica == group.replica } }
            var plain = group
            plain.recoveringUntil = nil
            let isPrefix = candidates.contains { $0.entries.starts(with: group.entries) }
            #expect(group.recoveringUntil != nil && isPrefix || candidates.contains(plain), note)
        }
        for group in allowed[0].groups
        where !found.groups.contains(where: { $0.replica == group.replica }) {
            #expect(allowed.last?.removed.contains(group.replica) == true, note)
        }
    }
}
