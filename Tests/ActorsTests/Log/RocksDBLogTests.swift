import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// What the RocksDB store does beyond what all stores do.
@Suite struct RocksDBLogTests {
    private func with(_ body: (String) throws -> Void) throws { try withTemporaryDirectory { try body($0 + "/data") } }

    /// A store with a history: appends, replaced entries, snapshots, removals.
    private func writeHistory(_ store: any LogStore) throws {
        try store.persistIdentity(sampleIdentity)
        try store.write(
            LogBatch(
                .of(1, create: 1, hardState: HardState(term: Term(1), vote: ReplicaID(1)), sampleEntries(1...40)),
                .of(2, create: 1, sampleEntries(1...9)), .of(3, create: 2, sampleEntries(1...3))))
        try store.write(LogBatch(.of(1, sampleEntries(30...34, term: 2, "again"))))
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(20)), .of(3, isRemoved: true)))
    }

    @Test("every opening counts, and the count begins where it is told to")
    func boots() throws {
        try with { directory in
            for boot: UInt64 in 8...10 {
                let store = RocksDBLogStore(directory: directory, firstBoot: 8)
                #expect(try store.open().bootCounter == boot)
                try store.close()
            }
        }
    }

    @Test("a directory that is in use is refused, and free again when it is closed")
    func lock() throws {
        try with { directory in
            let store = RocksDBLogStore(directory: directory)
            _ = try store.open()
            let error = try #require(throws: LogError.self) { try RocksDBLogStore(directory: directory).open() }
            #expect(error.code == .inUse)
            try store.close()
            let next = RocksDBLogStore(directory: directory)
            _ = try next.open()
            try next.close()
        }
    }

    @Test("a directory of the other format is refused by name", arguments: StorageFormat.allCases)
    func otherFormat(_ format: StorageFormat) throws {
        try with { directory in
            let log = DiskLogStore(directory: directory, fileSystem: PosixFileSystem())
            let rocks = RocksDBLogStore(directory: directory)
            let (first, second): (any LogStore, any LogStore) = format == .log ? (log, rocks) : (rocks, log)
            _ = try first.open()
            try first.persistIdentity(sampleIdentity)
            try first.close()
            let error = try #require(throws: LogError.self) { try second.open() }
            #expect(error.code == .otherFormat)
            #expect(error.message.contains("storage migrate --from \(directory)"))
        }
    }

    @Test("what a process that was killed had written is there, without an orderly end")
    func killed() throws {
        try with { directory in
            let store = RocksDBLogStore(directory: directory)
            _ = try store.open()
            try writeHistory(store)
            // A copy of the files is what a crash at this moment leaves.
            let copy = directory + "-copy"
            try copyTree(directory, to: copy)
            let after = RocksDBLogStore(directory: copy)
            let recovered = Holdings(try after.openAndRead())
            try after.close()
            try store.close()
            let expected = MemoryLogStore()
            _ = try expected.open()
            try writeHistory(expected)
            #expect(recovered == Holdings(try StoredLog(expected.contents, in: expected)))
        }
    }

    @Test("RM-12: a flipped byte in a table or in the log is found when the store is opened")
    func flippedBytes() throws {
        try with { directory in
            let store = RocksDBLogStore(directory: directory)
            _ = try store.open()
            try writeHistory(store)
            try store.close()
            // Opening writes what is in the log to tables: both kinds of file are there now.
            let again = RocksDBLogStore(directory: directory)
            let expected = Holdings(try again.openAndRead())
            try again.write(LogBatch(.of(2, sampleEntries(10...12))))
            try again.close()
            let files = PosixFileSystem()
            let database = directory + "/rocksdb"
            var found = 0
            var positions = 0
            for name in try files.list(database) where name.hasSuffix(".sst") || name.hasSuffix(".log") {
                let bytes = try files.readWhole("\(database)/\(name)")
                for position in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 12)) {
                    let copy = directory + "-flipped"
                    try copyTree(directory, to: copy)
                    var damaged = bytes
                    damaged[position] ^= 0x20
                    try files.writeWhole(damaged, to: name, in: copy + "/rocksdb")
                    positions += 1
                    let store = RocksDBLogStore(directory: copy)
                    do {
                        // Bytes that nothing depends on, such as a table's statistics, may go unnoticed; a wrong
                        // content may not.
                        var recovered = Holdings(try store.openAndRead())
                        recovered.groups[1].entries.removeAll { $0.index > LogIndex(9) }
                        #expect(recovered == expected, "\(name) at \(position)")
                    } catch let error as LogError {
                        found += 1
                        #expect([.damaged, .ioFailed].contains(error.code), "\(name) at \(position): \(error)")
                        #expect(error.message.contains(copy), "\(error)")
                    }
                    try? store.close()
                    removeTree(copy)
                }
            }
            print("RocksDB: \(found) of \(positions) flipped bytes found, the others without consequence")
            #expect(found > positions / 2)
        }
    }

    @Test("a write of a replica whose identity is lost is damage, not a new beginning")
    func lostReplica() throws {
        try with { directory in
            let store = RocksDBLogStore(directory: directory)
            _ = try store.open()
            try writeHistory(store)
            try store.close()
            let database = try RocksDBLog.openDatabase(directory + "/rocksdb")
            let batch = RocksBatch(for: database)
            batch.remove(RocksKey.replica(sampleReplica(2).key), in: RocksFamily.nodeMetadata.rawValue)
            try database.write(batch, isSynced: true)
            database.close()
            let error = try #require(throws: LogError.self) { try RocksDBLogStore(directory: directory).open() }
            #expect(error.code == .damaged)
            #expect(error.message.contains("\(sampleReplica(2).key)"))
        }
    }
}

/// Copies a directory's files as they stand.
private func copyTree(_ directory: String, to copy: String) throws {
    let files = PosixFileSystem()
    try files.createDirectory(copy)
    for name in try files.list(directory) {
        if (try? files.list("\(directory)/\(name)")) != nil {
            try copyTree("\(directory)/\(name)", to: "\(copy)/\(name)")
        } else {
            try files.writeWhole(try files.readWhole("\(directory)/\(name)"), to: name, in: copy)
        }
    }
}
