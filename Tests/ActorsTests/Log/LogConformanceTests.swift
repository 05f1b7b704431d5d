import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// One suite for every kind of log store.
@Suite struct LogConformanceTests {
    enum Kind: String, CaseIterable, Sendable {
        case memory
        case disk
        /// The disk store, changing segments at every chance.
        case diskWithSmallSegments
        case rocksDB
    }

    /// A store under test, and how to see what it holds.
    struct Subject {
        let store: any LogStore
        /// Ends the store and returns what the next one would find.
        let reread: () throws -> StoredLog
    }

    private func with(_ kind: Kind, _ body: (Subject) throws -> Void) throws {
        switch kind {
        case .memory:
            let store = MemoryLogStore()
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            try body(Subject(store: store) { try StoredLog(store.contents, in: store) })
        case .disk, .diskWithSmallSegments, .rocksDB:
            try withTemporaryDirectory { directory in
                let data = directory + "/data/7"
                let make: () -> any LogStore = {
                    guard kind != .rocksDB else { return RocksDBLogStore(directory: data) }
                    let limit: UInt64 = kind == .disk ? 64 << 20 : 1
                    return DiskLogStore(directory: data, fileSystem: PosixFileSystem(), segmentSizeLimit: limit)
                }
                let store = make()
                let first = try store.open()
                #expect(first.identity == nil && first.groups.isEmpty && first.bootCounter == 1)
                try store.persistIdentity(sampleIdentity)
                try body(
                    Subject(store: store) {
                        try store.close()
                        let next = make()
                        defer { try? next.close() }
                        return try next.openAndRead()
                    })
            }
        }
    }

    @Test("RM-07: persist_entries: entries come back in order and whole", arguments: Kind.allCases)
    func entries(_ kind: Kind) throws {
        try with(kind) { subject in
            let all = [
                sampleEntry(1, term: 1, "", kind: .empty), sampleEntry(2, term: 1, "one"),
                sampleEntry(3, term: 4, "", kind: .configuration),
                sampleEntry(4, term: 4, String(repeating: "long ", count: 10_000)),
            ]
            try subject.store.write(LogBatch(.of(1, create: 3, Array(all[0..<1]))))
            try subject.store.write(LogBatch(.of(1, Array(all[1..<4]))))
            let group = try #require(try subject.reread().groups.first)
            #expect(group.replica == sampleReplica(1, replica: 3))
            #expect(group.entries == all)
            #expect(group.recoveringUntil == nil)
        }
    }

    @Test(
        "RM-07: persist_entries: entries replace the log from their first index on",
        arguments: Kind.allCases)
    func truncation(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(LogBatch(.of(1, create: 1, sampleEntries(1...9))))
            try subject.store.write(LogBatch(.of(1, sampleEntries(4...5, term: 2, "other"))))
            try subject.store.write(LogBatch(.of(1, sampleEntries(6...6, term: 3))))
            let entries = try #require(try subject.reread().groups.first).entries
            #expect(
                entries == sampleEntries(1...3) + sampleEntries(4...5, term: 2, "other")
                    + sampleEntries(6...6, term: 3))
        }
    }

    @Test("RM-07: persist_hard_state: the last hard state comes back", arguments: Kind.allCases)
    func hardState(_ kind: Kind) throws {
        try with(kind) { subject in
            let last = HardState(term: Term(5), vote: nil, commit: LogIndex(1))
            try subject.store.write(
                LogBatch(
                    .of(
                        1, create: 1, hardState: HardState(term: Term(4), vote: ReplicaID(2)),
                        sampleEntries(1...1))))
            try subject.store.write(
                LogBatch(.of(2, create: 1, hardState: HardState(term: Term(9), vote: ReplicaID(0))))
            )
            try subject.store.write(LogBatch(.of(1, hardState: last)))
            let groups = try subject.reread().groups
            #expect(
                groups.map(\.hardState) == [last, HardState(term: Term(9), vote: ReplicaID(0))])
        }
    }

    @Test(
        "RM-07: persist_conf_state: a snapshot keeps its configuration",
        arguments: Kind.allCases)
    func snapshot(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(LogBatch(.of(1, create: 1, sampleEntries(1...5))))
            try subject.store.write(LogBatch(.of(1, snapshot: sampleSnapshot(3))))
            let group = try #require(try subject.reread().groups.first)
            #expect(group.snapshot == sampleSnapshot(3))
            #expect(group.snapshot?.configuration.isJoint == true)
            #expect(group.entries == sampleEntries(4...5))
        }
    }

    @Test("RM-07: load_node_id, persist_node_id: the identity comes back", arguments: Kind.allCases)
    func identity(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.persistIdentity(sampleIdentity)
            #expect(try subject.reread().identity == sampleIdentity)
        }
    }

    @Test(
        "a snapshot drops the whole log if the log does not hold its last entry",
        arguments: Kind.allCases)
    func foreignSnapshot(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(LogBatch(.of(1, create: 1, sampleEntries(1...9))))
            try subject.store.write(LogBatch(.of(1, snapshot: sampleSnapshot(5, term: 2))))
            try subject.store.write(LogBatch(.of(1, sampleEntries(6...7, term: 2))))
            let group = try #require(try subject.reread().groups.first)
            #expect(group.snapshot == sampleSnapshot(5, term: 2))
            #expect(group.entries == sampleEntries(6...7, term: 2))
        }
    }

    @Test("a snapshot and the entries behind it can come in one write", arguments: Kind.allCases)
    func snapshotWithEntries(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(LogBatch(.of(1, create: 1, sampleEntries(1...2))))
            try subject.store.write(
                LogBatch(
                    .of(
                        1, sampleEntries(101...103, term: 7), snapshot: sampleSnapshot(100, term: 7)
                    )))
            let group = try #require(try subject.reread().groups.first)
            #expect(group.snapshot?.index == LogIndex(100))
            #expect(group.entries == sampleEntries(101...103, term: 7))
        }
    }

    @Test("groups share the log and do not touch each other", arguments: Kind.allCases)
    func groups(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(
                LogBatch(
                    .of(
                        2, create: 5, hardState: HardState(term: Term(2)),
                        sampleEntries(1...3, "two")),
                    .of(1, create: 4, sampleEntries(1...2, "one")),
                    .of(1, sampleEntries(2...4, term: 2, "again"))))
            try subject.store.write(LogBatch(.of(2, sampleEntries(2...2, term: 9))))
            let groups = try subject.reread().groups
            #expect(
                groups.map(\.replica) == [
                    sampleReplica(1, replica: 4), sampleReplica(2, replica: 5),
                ])
            #expect(
                groups[0].entries == sampleEntries(1...1, "one")
                    + sampleEntries(2...4, term: 2, "again"))
            #expect(
                groups[1].entries == sampleEntries(1...1, "two") + sampleEntries(2...2, term: 9))
            #expect(groups[1].hardState.term == Term(2))
        }
    }

    @Test(
        "a group that is created again sees nothing of its earlier life", arguments: Kind.allCases)
    func incarnations(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(
                LogBatch(
                    .of(
                        1, create: 1, hardState: HardState(term: Term(8), vote: ReplicaID(1)),
                        sampleEntries(1...9))))
            try subject.store.write(LogBatch(.of(1, snapshot: sampleSnapshot(4))))
            try subject.store.write(LogBatch(.of(1, isRemoved: true)))
            try subject.store.write(LogBatch(.of(1, incarnation: 2, create: 1)))
            let log = try subject.reread()
            #expect(Holdings(log).groups.map(\.replica) == [sampleReplica(1, incarnation: 2)])
            #expect(log.groups[0].entries.isEmpty && log.groups[0].hardState == HardState())
            #expect(log.groups[0].snapshot == nil)
            #expect(log.removedReplicas == [sampleReplica(1)])
        }
    }

    @Test(
        "a replica that was removed stays known, also if it comes back under another id",
        arguments: Kind.allCases)
    func removal(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(
                LogBatch(.of(1, create: 1, sampleEntries(1...9)), .of(3, create: 1)))
            try subject.store.write(LogBatch(.of(1, isRemoved: true)))
            try subject.store.write(LogBatch(.of(1, create: 6, sampleEntries(1...1, term: 3))))
            let log = try subject.reread()
            #expect(log.groups.map(\.replica) == [sampleReplica(1, replica: 6), sampleReplica(3)])
            #expect(log.groups[0].entries == sampleEntries(1...1, term: 3))
            #expect(log.removedReplicas == [sampleReplica(1)])
        }
    }

    @Test("nothing is read or written before open and after close", arguments: Kind.allCases)
    func closed(_ kind: Kind) throws {
        try with(kind) { subject in
            try subject.store.write(LogBatch(.of(1, create: 1)))
            try subject.store.close()
            try subject.store.close()
            let error = try #require(throws: LogError.self) {
                try subject.store.write(LogBatch(.of(1)))
            }
            #expect(error.code == .closed)
            #expect(throws: LogError.self) { try subject.store.persistIdentity(sampleIdentity) }
            #expect(throws: LogError.self) { try subject.store.open() }
        }
        #expect(throws: LogError.self) { try MemoryLogStore().write(LogBatch(.of(1))) }
        let unopened = DiskLogStore(directory: "/nowhere", fileSystem: PowerLossFileSystem())
        #expect(throws: LogError.self) { try unopened.write(LogBatch(.of(1))) }
        #expect(throws: LogError.self) { try RocksDBLogStore(directory: "/nowhere").write(LogBatch(.of(1))) }
    }
}
