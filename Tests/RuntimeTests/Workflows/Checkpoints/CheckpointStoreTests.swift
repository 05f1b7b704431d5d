import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// One suite for every kind of checkpoint store.
@Suite struct CheckpointStoreTests {
    enum Kind: CaseIterable, Sendable {
        case memory, file, rocksDB
    }

    /// - Parameter body: gets a store, and a way to close it and open the next one on the same data.
    private func with(_ kind: Kind, _ body: (any CheckpointStore, () throws -> any CheckpointStore) throws -> Void)
        throws
    {
        let directory = temporaryPath()
        try PosixFileSystem().createDirectory(directory)
        defer { removeTree(directory) }
        let make: () throws -> any CheckpointStore = {
            switch kind {
            case .memory: MemoryCheckpointStore()
            case .file: try MemoryCheckpointStore(directory: directory, files: PosixFileSystem())
            case .rocksDB: try RocksDBCheckpointStore(directory: directory)
            }
        }
        var open = try make()
        defer { open.close() }
        try body(open) {
            open.close()
            open = try make()
            return open
        }
    }

    private func key(_ name: String, workflow: String = "order", run: UInt64 = 1, group: UInt64 = 2) -> CheckpointKey {
        CheckpointKey(
            run: CheckpointRun(
                group: GroupID(group), run: RunKey("default", workflow), runID: RunID(high: 7, low: run)),
            name: ByteText(name))
    }

    private func record(_ sequence: UInt64, _ text: String = "v") -> CheckpointRecord {
        CheckpointRecord(sequence: sequence, value: Array("\(text)\(sequence)".utf8), recordedAt: Int64(sequence) * 10)
    }

    private func all(_ store: any CheckpointStore, _ key: CheckpointKey) throws -> [CheckpointRecord] {
        try store.history(of: key, from: 0, limit: .max, bytesMax: .max)
    }

    @Test("RM-19: append, latest, history: records come back in their order, page by page", arguments: Kind.allCases)
    func appends(_ kind: Kind) throws {
        try with(kind) { store, _ in
            #expect(try store.latest(of: key("a")) == nil)
            #expect(try all(store, key("a")).isEmpty)
            for sequence: UInt64 in 0..<300 { try store.append(record(sequence), to: key("a")) }
            #expect(try all(store, key("a")) == (0..<300).map { record($0) })
            #expect(try store.latest(of: key("a")) == record(299))
            #expect(
                try store.history(of: key("a"), from: 255, limit: 3, bytesMax: .max) == (255..<258).map { record($0) })
            #expect(try store.history(of: key("a"), from: 10, limit: 99, bytesMax: 1) == [record(10)])
            #expect(try store.history(of: key("a"), from: 300, limit: 1, bytesMax: .max).isEmpty)
        }
    }

    @Test("RM-19: ids that contain separators, or each other, are different keys", arguments: Kind.allCases)
    func separators(_ kind: Kind) throws {
        let keys = [
            key("a"), key("a:1"), key("a:1", workflow: "order:a"), key(":a", workflow: "order"),
            key("a", workflow: "order:"),
            key("", workflow: "ordera"), key("\u{FF}\u{10FFFF}"), key("a", run: 2), key("a", group: 3), key("aa"),
        ]
        try with(kind) { store, _ in
            for (number, key) in keys.enumerated() {
                try store.apply([.append(key, record(0, "\(number)-")), .append(key, record(1, "\(number)-"))])
            }
            for (number, key) in keys.enumerated() {
                #expect(try all(store, key) == [record(0, "\(number)-"), record(1, "\(number)-")])
                #expect(try store.latest(of: key) == record(1, "\(number)-"))
            }
            try store.apply([.remove(key("a").run)])
            for key in keys where key.run != self.key("a").run { #expect(try all(store, key).count == 2) }
            for key in keys where key.run == self.key("a").run { #expect(try all(store, key).isEmpty) }
        }
    }

    @Test("RM-19: prune(keepLast:) keeps the newest records, whatever their number", arguments: Kind.allCases)
    func prunes(_ kind: Kind) throws {
        try with(kind) { store, _ in
            try store.prune(key("a"), keepLast: 3)
            for name in ["a", "b"] {
                for sequence: UInt64 in 0..<10 { try store.append(record(sequence), to: key(name)) }
            }
            try store.prune(key("a"), keepLast: 20)
            #expect(try all(store, key("a")).count == 10)
            try store.prune(key("a"), keepLast: 3)
            #expect(try all(store, key("a")) == (7..<10).map { record($0) })
            try store.prune(key("a"), keepLast: 0)
            #expect(try all(store, key("a")).isEmpty)
            #expect(try all(store, key("b")).count == 10)
        }
    }

    @Test("changes that are made again, from any point on, change nothing", arguments: Kind.allCases)
    func again(_ kind: Kind) throws {
        let key = key("a")
        let gone = self.key("a", run: 9)
        let changes: [CheckpointChange] =
            (0..<6).map { .append(key, record($0)) } + [.append(gone, record(0)), .prune(key, before: 4)]
            + (6..<9).map { .append(key, record($0)) } + [.remove(gone.run), .append(key, record(9))]
        for start in changes.indices {
            try with(kind) { store, _ in
                try store.apply(changes)
                try store.apply(Array(changes[start...]))
                #expect(try all(store, key) == (4..<10).map { record($0) })
                #expect(try all(store, gone).isEmpty)
            }
        }
    }

    @Test("RM-20: what was synced is there after the process has gone", arguments: [Kind.file, .rocksDB])
    func survives(_ kind: Kind) throws {
        try with(kind) { store, reopen in
            for sequence: UInt64 in 0..<50 { try store.append(record(sequence), to: key("a")) }
            try store.sync()
            let next = try reopen()
            #expect(try all(next, key("a")) == (0..<50).map { record($0) })
            try next.apply([.prune(key("a"), before: 48), .append(key("a"), record(50))])
            try next.sync()
            #expect(try all(try reopen(), key("a")) == (48..<51).map { record($0) })
        }
    }

    @Test("changes of every kind come back from their bytes")
    func coding() throws {
        let changes: [CheckpointChange] = [
            .append(key("a:b"), record(3)), .append(key(""), CheckpointRecord(sequence: 0, value: [], recordedAt: -5)),
            .prune(key("x"), before: 1 << 40), .remove(key("gone").run),
        ]
        for change in changes { #expect(try CheckpointChange(decoding: change.encoded) == change) }
    }
}
