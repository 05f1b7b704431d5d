import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// What is done to a data directory while its node is stopped.
@Suite struct StorageToolsTests {
    private let files = PosixFileSystem()

    /// Writes a node's data: appends, replaced entries, snapshots, a removed replica, a group without entries.
    private func fill(_ directory: String, _ format: StorageFormat, isClosed: Bool = true) throws {
        let store = format.store(in: directory, files: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(
            LogBatch(
                .of(1, create: 1, hardState: HardState(term: Term(3), vote: ReplicaID(1)), sampleEntries(1...40)),
                .of(2, create: 4), .of(3, create: 2, sampleEntries(1...3))))
        try store.write(LogBatch(.of(1, sampleEntries(30...34, term: 2, "again"))))
        try saveSnapshot(directory)
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(20)), .of(3, isRemoved: true)))
        if isClosed { try store.close() }
    }

    private func holdings(_ directory: String, _ format: StorageFormat) throws -> (Holdings, StoredLog) {
        let store = format.store(in: directory, files: files)
        let recovered = try store.openAndRead()
        try store.close()
        let snapshot = "\(directory)/snapshots/\(Self.snapshotID.fileName)"
        #expect(try SnapshotReader(Self.snapshotID, path: snapshot, files: files).load() == Array("state".utf8))
        return (Holdings(recovered), recovered)
    }

    private func migrate(_ source: String, _ target: String, _ format: StorageFormat) throws -> StorageMigration.Result
    {
        try StorageMigration(from: source, to: target, format: format, files: files).run()
    }

    private static let snapshotID = SnapshotID(sampleReplica(1), sampleSnapshot(20))

    private func saveSnapshot(_ directory: String) throws {
        let bytes = Array("state".utf8)
        let header = SnapshotHeader(
            id: Self.snapshotID, size: UInt64(bytes.count), checksum: CRC32C.checksum(bytes), chunkBytes: 1 << 20)
        let place = DataDirectory.snapshotDirectory(of: directory)
        try files.createDirectory(place)
        var part = try SnapshotPart(header, path: "\(place)/\(Self.snapshotID.fileName)", files: files)
        try part.write([bytes], number: 0, checksum: header.checksum(ofChunk: 0, bytes))
        try part.seal()
    }

    // MARK: Migrating

    @Test(
        "RM-11: migrating keeps everything, counts the boots on, and leaves one usable copy",
        arguments: StorageFormat.allCases, StorageFormat.allCases)
    func migrates(from: StorageFormat, to: StorageFormat) throws {
        try withTemporaryDirectory { directory in
            let (source, target) = (directory + "/a", directory + "/b")
            try fill(source, from)
            // Whatever the history of checkpoints consists of goes along.
            let history = DataDirectory.historyDirectory(of: source)
            try files.createDirectory(history)
            for name in ["CURRENT", "000007.sst", "LOCK"] {
                try files.writeWhole(Array("of \(name)".utf8), to: name, in: history)
            }
            let (expected, before) = try holdings(source, from)
            let result = try migrate(source, target, to)
            #expect(result == .init(groups: 2, entries: 14, snapshots: 1))
            let (moved, after) = try holdings(target, to)
            #expect(moved == expected)
            #expect(after.identity == sampleIdentity)
            let copy = DataDirectory.historyDirectory(of: target)
            #expect(try files.list(copy).sorted() == ["000007.sst", "CURRENT"])
            #expect(try files.readWhole(copy + "/000007.sst") == Array("of 000007.sst".utf8))
            #expect(after.bootCounter > before.bootCounter)
            let error = try #require(throws: LogError.self) { try from.store(in: source, files: files).open() }
            #expect(error.code == .moved && error.message.contains(target))
            #expect(throws: LogError.self) { try migrate(source, directory + "/c", to) }
        }
    }

    @Test("a migration that was interrupted after the old data was given up is finished by the next call")
    func interrupted() throws {
        try withTemporaryDirectory { directory in
            let (source, target) = (directory + "/a", directory + "/b")
            try fill(source, .log)
            let (expected, _) = try holdings(source, .log)
            _ = try migrate(source, target, .rocksDB)
            // As if the process had ended before the last rename.
            try files.rename(target, to: target + ".migrating")
            #expect(throws: LogError.self) { try migrate(source, directory + "/elsewhere", .rocksDB) }
            #expect(try migrate(source, target, .rocksDB).entries == 14)
            #expect(try holdings(target, .rocksDB).0 == expected)
        }
    }

    @Test("what cannot be migrated is left as it was, with the reason")
    func refusals() throws {
        try withTemporaryDirectory { directory in
            let (source, target) = (directory + "/a", directory + "/b")
            func code(_ target: String) -> LogError.Code? {
                do {
                    _ = try migrate(source, target, .rocksDB)
                    return nil
                } catch { return (error as? LogError)?.code }
            }
            #expect(code(target) == .missing)
            try fill(source, .log)
            #expect(code(source) == .notEmpty)
            try files.createDirectory(target + ".migrating/rocksdb")
            #expect(code(target) == .notEmpty)
            let running = StorageFormat.log.store(in: source, files: files)
            let expected = Holdings(try running.openAndRead())
            #expect(code(directory + "/c") == .inUse)
            try running.close()
            #expect(try holdings(source, .log).0 == expected)
        }
    }

    @Test("RM-11: a payload that is in a file of its own moves to a format that keeps it with the others, and back")
    func largePayload() throws {
        try withTemporaryDirectory { directory in
            let (source, middle, target) = (directory + "/a", directory + "/b", directory + "/c")
            try fill(source, .log)
            let store = StorageFormat.log.store(in: source, files: files)
            _ = try store.open()
            let text = String(repeating: "p", count: DiskLogStore.defaultPayloadFileLimit + 1)
            try store.write(LogBatch(.of(2, [sampleEntry(1, text)])))
            try store.close()
            let name = SHA256Digest(of: Array(text.utf8)).description
            #expect(try files.list(source + "/payloads") == [name])
            let (expected, _) = try holdings(source, .log)
            _ = try migrate(source, middle, .rocksDB)
            #expect(try holdings(middle, .rocksDB).0 == expected && !files.exists(middle + "/payloads"))
            _ = try migrate(middle, target, .log)
            #expect(try holdings(target, .log).0 == expected)
            #expect(try files.list(target + "/payloads") == [name])
        }
    }

    // MARK: Verifying

    @Test("RM-12: sound data is found sound, with its contents", arguments: StorageFormat.allCases)
    func sound(_ format: StorageFormat) throws {
        try withTemporaryDirectory { directory in
            try fill(directory, format)
            let report = try StorageVerification.run(on: directory, files: files)
            #expect(report.problems.isEmpty && report.notes.isEmpty)
            #expect(report.identity == sampleIdentity && report.boots == 1)
            #expect(report.groups.count == 2 && report.entries == 14 && report.snapshots == 1)
        }
    }

    @Test("data that a node uses is not verified", arguments: StorageFormat.allCases)
    func inUse(_ format: StorageFormat) throws {
        try withTemporaryDirectory { directory in
            try fill(directory, format)
            let store = format.store(in: directory, files: files)
            _ = try store.open()
            let error = try #require(throws: LogError.self) {
                try StorageVerification.run(on: directory, files: files)
            }
            #expect(error.code == .inUse)
            try store.close()
            #expect(throws: LogError.self) { try StorageVerification.run(on: directory + "/none", files: files) }
        }
    }

    @Test("RM-12: each flipped byte of a log is found, by file and place, or changes nothing")
    func flippedBytes() throws {
        try withTemporaryDirectory { directory in
            try fill(directory, .log)
            let sound = try StorageVerification.run(on: directory, files: files)
            var (found, harmless) = (0, 0)
            for place in ["", "/log", "/snapshots"] {
                for name in try files.list(directory + place)
                where !["LOCK", "log", "snapshots", "payloads"].contains(name) {
                    let path = "\(directory)\(place)/\(name)"
                    let bytes = try files.readWhole(path)
                    // The room that is written ahead is a megabyte of zeros: its beginning will do.
                    for position in bytes.indices.prefix((bytes.lastIndex { $0 != 0 } ?? 0) + 64) {
                        let file = try files.open(path, create: false)
                        try file.write([bytes[position] ^ 1], at: UInt64(position))
                        let report = try StorageVerification.run(on: directory, files: files)
                        try file.write([bytes[position]], at: UInt64(position))
                        let entries = report.notes.first { $0.contains("damaged at byte") }
                        if let problem = report.problems.first?.message ?? entries {
                            found += 1
                            #expect(problem.contains(name), "\(path) at \(position): \(problem)")
                        } else {
                            // Padding, or the room that is written ahead.
                            harmless += 1
                            #expect(name.hasSuffix(".seg") && report.entries == sound.entries, "\(path) at \(position)")
                            #expect(report.groups.map(\.outline) == sound.groups.map(\.outline))
                        }
                    }
                }
            }
            #expect(try StorageVerification.run(on: directory, files: files).problems.isEmpty)
            #expect(found > 1_000)
            print("storage verify: \(found + harmless) flipped bytes: \(found) found, \(harmless) without effect")
        }
    }

    @Test("a torn end and a missing clean end are noted, and are no problem")
    func tornEnd() throws {
        try withTemporaryDirectory { directory in
            try fill(directory, .log)
            try files.remove(directory + "/clean")
            let segment = try #require(try files.list(directory + "/log").last)
            let log = DiskLog(
                reading: directory, files: files, lock: try DataDirectory.lock(directory, for: .log, files: files))
            _ = try log.read()
            let end = try #require(log.segments.last).end
            log.unlock()
            let path = "\(directory)/log/\(segment)"
            try files.open(path, create: false).write([1, 2, 3], at: end)
            let before = try files.readWhole(path)
            let report = try StorageVerification.run(on: directory, files: files)
            #expect(report.problems.isEmpty)
            #expect(report.notes.count == 2)
            #expect(try files.readWhole(path) == before)
        }
    }
}
