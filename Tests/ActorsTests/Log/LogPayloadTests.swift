import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Large payloads are in files of their own.
@Suite struct LogPayloadTests {
    private let files = PowerLossFileSystem()

    private func open(_ files: PowerLossFileSystem? = nil, limit: Int = 1000, segments: UInt64 = 4096) throws
        -> (DiskLogStore, StoredLog)
    {
        let store = DiskLogStore(
            directory: "/data", fileSystem: files ?? self.files, segmentSizeLimit: segments, payloadFileLimit: limit)
        let log = try store.openAndRead()
        try store.persistIdentity(sampleIdentity)
        return (store, log)
    }

    private func large(_ letter: Character, _ size: Int = 5000) -> String { String(repeating: letter, count: size) }

    private var payloadFiles: [String] { files.contents.keys.filter { $0.hasPrefix("/data/payloads/") }.sorted() }

    private func path(_ text: String) -> String { "/data/payloads/\(SHA256Digest(of: Array(text.utf8)))" }

    @Test("a payload above the limit is in a file under its hash, one at the limit in the log, and both come back")
    func limit() throws {
        let (store, _) = try open()
        let entries = [sampleEntry(1, large("a", 1000)), sampleEntry(2, large("b", 1001)), sampleEntry(3, "small")]
        try store.write(LogBatch(.of(1, create: 1, entries)))
        #expect(payloadFiles == [path(large("b", 1001))])
        #expect(files.contents[payloadFiles[0]] == entries[1].payload)
        files.losePower()
        #expect(try open().1.groups[0].entries == entries)
    }

    @Test("the log stays dense: a large payload takes a reference in it")
    func density() throws {
        let (store, _) = try open(segments: 1 << 20)
        try store.write(LogBatch(.of(1, create: 1)))
        for index: UInt64 in 1...50 { try store.write(LogBatch(.of(1, [sampleEntry(index, large("x") + "\(index)")]))) }
        #expect(payloadFiles.count == 50)
        var recovery = LogRecovery(
            files: files, directory: "/data/log", instance: sampleIdentity.instance, marker: nil)
        try recovery.run()
        #expect(try #require(recovery.segments.last).end < 50 * 256)
    }

    @Test("equal payloads share a file, which goes with the last entry that names it")
    func sharing() throws {
        let (store, _) = try open()
        let text = large("s")
        try store.write(
            LogBatch(.of(1, create: 1, [sampleEntry(1, text), sampleEntry(2, text)]), .of(2, create: 1)))
        try store.write(LogBatch(.of(2, [sampleEntry(1, text)])))
        #expect(payloadFiles == [path(text)])
        let creations = files.state.withLock { $0.changes }
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(1))))
        #expect(payloadFiles == [path(text)])
        #expect(files.state.withLock { $0.changes } == creations + 2, "one write and one fsync")
        try store.write(LogBatch(.of(1, [sampleEntry(2, term: 2, "other")])))
        #expect(payloadFiles == [path(text)])
        // The last use ends and the next one begins in one batch.
        try store.write(LogBatch(.of(2, isRemoved: true), .of(3, create: 1, [sampleEntry(1, text)])))
        #expect(payloadFiles == [path(text)])
        files.losePower()
        let (next, log) = try open()
        #expect(log.groups.map { $0.entries.last?.payload.count } == [5, 5000])
        try next.write(LogBatch(.of(3, snapshot: sampleSnapshot(1))))
        #expect(payloadFiles.isEmpty)
        try next.write(LogBatch(.of(3, [sampleEntry(2, text)])))
        files.losePower()
        #expect(try open().1.groups[1].entries == [sampleEntry(2, text)])
    }

    @Test("entries that are copied to a new segment keep their files, which are not written again")
    func copying() throws {
        let (store, _) = try open(segments: 600)
        let entries = [sampleEntry(1, large("l")), sampleEntry(2, "small"), sampleEntry(3, large("m"))]
        try store.write(LogBatch(.of(1, create: 1, entries), .of(2, create: 1)))
        let inodes = payloadFiles.map { path in files.state.withLock { ObjectIdentifier($0.current[path]!) } }
        for index: UInt64 in 1...200 {
            try store.write(LogBatch(.of(2, [sampleEntry(index)])))
            if index % 5 == 0 { try store.write(LogBatch(.of(2, snapshot: sampleSnapshot(index)))) }
        }
        #expect(files.contents["/data/log/00000001.seg"] == nil)
        #expect(payloadFiles.map { path in files.state.withLock { ObjectIdentifier($0.current[path]!) } } == inodes)
        files.losePower()
        #expect(try open().1.groups[0].entries == entries)
    }

    @Test("a payload file that is damaged, cut, too long or missing costs its entry, and peers give that back")
    func damage() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(7, create: 1, [sampleEntry(1), sampleEntry(2, large("d"))])))
        try store.close()
        let place = path(large("d"))
        let whole = files.contents
        for change in [
            { (bytes: inout [UInt8]?) in bytes?[4321] ^= 1 }, { $0?.removeLast() }, { $0?.append(0) }, { $0 = [] },
            { $0 = nil },
        ] {
            var contents = whole
            change(&contents[place])
            let damaged = PowerLossFileSystem(contents)
            let report = try StorageVerification.run(on: "/data", files: damaged)
            #expect(report.problems.isEmpty && report.entries == 1)
            #expect(
                report.notes.contains { $0.contains(place) && $0.contains("entry 2 of group 7, incarnation 1") },
                "\(report.notes)")
            let (store, log) = try open(damaged)
            #expect(log.damages.map(\.isPayload) == [true])
            #expect(log.groups[0].entries.count == 1 && log.groups[0].recoveringUntil == LogIndex(2))
            // What a leader sends in its place is written anew.
            try store.write(LogBatch(.of(7, [sampleEntry(2, large("d"))])))
            damaged.losePower()
            let next = try open(damaged).1
            #expect(next.damages.isEmpty && next.groups[0].entries.count == 2)
            #expect(next.groups[0].recoveringUntil == nil)
        }
    }

    @Test("files that no entry names are removed at open, complete or not, and named by a verification before")
    func leftovers() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1, [sampleEntry(1, large("k"))])))
        try store.close()
        let stray = path(large("z"))
        for name in [stray, stray + ".tmp"] { try files.open(name, create: true).write([1, 2, 3], at: 0) }
        let report = try StorageVerification.run(on: "/data", files: files)
        #expect(report.problems.isEmpty && report.notes.count == 1 && report.notes[0].contains("1 files of payloads"))
        _ = try open()
        #expect(payloadFiles == [path(large("k"))])
    }

    @Test("whatever limit a payload was written under, it is read under any other")
    func otherLimits() throws {
        var entries: [Entry] = []
        for (index, limit) in [1000, 10, 100_000, 0].enumerated() {
            let (store, log) = try open(limit: limit)
            #expect((log.groups.first?.entries ?? []) == entries)
            entries.append(sampleEntry(UInt64(index) + 1, large("o") + "\(index)"))
            let replica: UInt64? = index == 0 ? 1 : nil
            try store.write(LogBatch(.of(1, create: replica, Array(entries.suffix(1)))))
            try store.close()
        }
        #expect(payloadFiles.count == 3)
        #expect(try open().1.groups[0].entries == entries)
    }

    @Test("a disk that is full while a payload file is written refuses the batch and keeps nothing of it")
    func diskFull() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1, [sampleEntry(1)])))
        // There is room for the first of the two, and for the batch.
        let used = files.contents.values.reduce(0) { $0 + $1.count }
        files.state.withLock { $0.capacity = used + 6000 }
        let batch = LogBatch(.of(1, [sampleEntry(2, large("1")), sampleEntry(3, large("2"))]))
        for _ in 0..<3 {
            let error = try #require(throws: LogError.self) { try store.write(batch) }
            #expect(error.code == .diskFull && error.message.contains("/data/payloads/"))
            #expect(payloadFiles.isEmpty)
        }
        try store.write(LogBatch(.of(2, create: 1, [sampleEntry(1, "a small one fits")])))
        files.state.withLock { $0.capacity = nil }
        try store.write(batch)
        files.losePower()
        let log = try open().1
        #expect(log.groups[0].entries == [sampleEntry(1)] + batch.writes[0].entries)
    }
}
