import FlotillaIO
import FlotillaRaft
import Glibc
import Testing

@testable import FlotillaActors

/// Reading old entries from a store: one suite for every kind of them.
@Suite struct LogReadConformanceTests {
    private func make(_ kind: LogConformanceTests.Kind, _ directory: String) -> any LogStore {
        switch kind {
        case .memory: MemoryLogStore()
        case .disk: DiskLogStore(directory: directory, fileSystem: PosixFileSystem())
        case .diskWithSmallSegments:
            DiskLogStore(directory: directory, fileSystem: PosixFileSystem(), segmentSizeLimit: 1)
        case .rocksDB: RocksDBLogStore(directory: directory)
        }
    }

    private func withStore(_ kind: LogConformanceTests.Kind, _ body: (any LogStore) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let store = make(kind, directory)
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            defer { try? store.close() }
            try body(store)
        }
    }

    private func read(
        _ store: any LogStore, _ group: UInt64 = 1, incarnation: UInt64 = 1, from first: UInt64,
        bytesMax: Int = 1 << 20
    ) throws(LogError) -> [Entry] {
        try store.read(GroupID(group), incarnation: incarnation, from: LogIndex(first), bytesMax: bytesMax)
    }

    @Test(
        "entries are read from any index on, also from the middle of a write",
        arguments: LogConformanceTests.Kind.allCases)
    func anyIndex(_ kind: LogConformanceTests.Kind) throws {
        try withStore(kind) { store in
            try store.write(
                LogBatch(.of(1, create: 1, sampleEntries(1...5)), .of(2, create: 1, sampleEntries(1...9, "two"))))
            try store.write(LogBatch(.of(2, sampleEntries(10...12, "two")), .of(1, sampleEntries(6...9, term: 2))))
            try store.write(LogBatch(.of(1, sampleEntries(10...10, term: 2))))
            let all = sampleEntries(1...5) + sampleEntries(6...10, term: 2)
            for first in 1...10 {
                #expect(try read(store, from: UInt64(first)) == Array(all[(first - 1)...]))
            }
            #expect(try read(store, 2, from: 4) == sampleEntries(4...12, "two"))
        }
    }

    @Test(
        "a read gives at least one entry, and about as many as were asked for",
        arguments: LogConformanceTests.Kind.allCases)
    func pages(_ kind: LogConformanceTests.Kind) throws {
        try withStore(kind) { store in
            let entries = (1...20).map { sampleEntry(UInt64($0), String(repeating: "x", count: 1_000)) }
            try store.write(LogBatch(.of(1, create: 1, Array(entries[..<7]))))
            try store.write(LogBatch(.of(1, Array(entries[7...]))))
            for bytesMax in [0, 1, 1_000, 1_500] {
                #expect(try read(store, from: 6, bytesMax: bytesMax) == [entries[5]])
            }
            let page = try read(store, from: 6, bytesMax: 5_000)
            #expect((3...5).contains(page.count) && page == Array(entries[5..<5 + page.count]))
        }
    }

    @Test(
        "what the log does not hold is not read: compacted, not written, another life",
        arguments: LogConformanceTests.Kind.allCases)
    func absent(_ kind: LogConformanceTests.Kind) throws {
        try withStore(kind) { store in
            #expect(try read(store, from: 1).isEmpty)
            try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...9))))
            #expect(try read(store, from: 0).isEmpty && read(store, from: 10).isEmpty)
            #expect(try read(store, incarnation: 2, from: 1).isEmpty && read(store, 2, from: 1).isEmpty)
            try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(4))))
            #expect(try read(store, from: 4).isEmpty)
            #expect(try read(store, from: 5) == sampleEntries(5...9))
            try store.write(LogBatch(.of(1, isRemoved: true)))
            #expect(try read(store, from: 5).isEmpty)
        }
    }

    @Test("entries that a later write replaced are not read any more", arguments: LogConformanceTests.Kind.allCases)
    func replaced(_ kind: LogConformanceTests.Kind) throws {
        try withStore(kind) { store in
            try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...9))))
            try store.write(LogBatch(.of(1, sampleEntries(4...5, term: 2, "other"))))
            #expect(try read(store, from: 2) == sampleEntries(2...3) + sampleEntries(4...5, term: 2, "other"))
            #expect(try read(store, from: 6).isEmpty)
        }
    }

    @Test(
        "entries that a snapshot covers can be kept, and outlive a restart",
        arguments: LogConformanceTests.Kind.allCases)
    func kept(_ kind: LogConformanceTests.Kind) throws {
        try withTemporaryDirectory { directory in
            let store = make(kind, directory)
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            let all =
                sampleEntries(1...4) + [sampleEntry(5, term: 2, "", kind: .configuration)]
                + sampleEntries(6...9, term: 2)
            try store.write(LogBatch(.of(1, create: 1, all)))
            try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(3), keptFrom: LogIndex(1))))
            #expect(try read(store, from: 1) == all)
            try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(8, term: 2), keptFrom: LogIndex(4))))
            #expect(try read(store, from: 3).isEmpty && read(store, from: 4) == Array(all[3...]))
            try store.write(LogBatch(.of(1, sampleEntries(10...11, term: 3))))
            guard kind != .memory else { return }
            try store.close()
            let next = make(kind, directory)
            let log = try next.openAndRead()
            #expect(log.groups[0].snapshot == sampleSnapshot(8, term: 2))
            #expect(log.groups[0].entries == Array(all[3...]) + sampleEntries(10...11, term: 3))
            #expect(log.groups[0].outline.base == LogPosition(index: LogIndex(3), term: Term(1)))
            #expect(log.groups[0].outline.configurations == [LogIndex(5)])
            // What comes from elsewhere leaves nothing of it.
            try next.write(LogBatch(.of(1, snapshot: sampleSnapshot(20, term: 4), keptFrom: LogIndex(5))))
            #expect(try read(next, from: 10).isEmpty)
            try next.close()
            let last = make(kind, directory)
            #expect(try last.open().groups[0].outline == LogOutline(base: .init(index: LogIndex(20), term: Term(4))))
            try last.close()
        }
    }

    @Test("nothing is read before open and after close", arguments: LogConformanceTests.Kind.allCases)
    func closed(_ kind: LogConformanceTests.Kind) throws {
        try withStore(kind) { store in
            try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...2))))
            try store.close()
            #expect(try #require(throws: LogError.self) { try read(store, from: 1) }.code == .closed)
        }
        #expect(throws: LogError.self) { try read(MemoryLogStore(), from: 1) }
        #expect(throws: LogError.self) { try read(RocksDBLogStore(directory: "/nowhere"), from: 1) }
    }

    @Test("reads beside writes see whole writes, in order", arguments: LogConformanceTests.Kind.allCases)
    func besideWrites(_ kind: LogConformanceTests.Kind) async throws {
        var template = Array("/tmp/flotilla-log-XXXXXX".utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer { removeTree(directory) }
        let store = make(kind, directory)
        _ = try store.open()
        defer { try? store.close() }
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...10)), .of(2, create: 1)))
        let hasEnded = Lock(false)
        async let pages = Self.readAll(store, until: hasEnded)
        do {
            defer { hasEnded.withLock { $0 = true } }
            for round in 1..<200 {
                let first = UInt64(round) * 10 + 1
                try store.write(
                    LogBatch(
                        .of(1, sampleEntries(first...first + 9)),
                        .of(2, hardState: HardState(term: Term(UInt64(round))))))
                // Drops the log's beginning, so that segments go and are used again under the reader.
                guard round % 5 == 0 else { continue }
                try store.write(
                    LogBatch(.of(1, snapshot: sampleSnapshot(first), keptFrom: LogIndex(max(101, first) - 100))))
            }
        }
        #expect(try await pages > 0)
    }

    /// - Returns: how many pages held entries.
    private static func readAll(_ store: any LogStore, until hasEnded: Lock<Bool>) async throws -> Int {
        var random = SeededGenerator(seed: 5)
        var count = 0
        while !hasEnded.withLock({ $0 }) || count == 0 {
            let first = UInt64.random(in: 1...2_000, using: &random)
            let page = try store.read(GroupID(1), incarnation: 1, from: LogIndex(first), bytesMax: 2_000)
            if page.isEmpty { continue }
            count += 1
            try #require(page == sampleEntries(first...first + UInt64(page.count) - 1))
        }
        return count
    }
}

/// What only the log of our own can show.
@Suite struct DiskLogReadTests {
    @Test("a read does not wait for an fsync, and does not see what it has not made durable")
    func besideAnFsync() throws {
        let files = HookedFileSystem()
        let store = DiskLogStore(directory: "/data", fileSystem: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...4))))
        let seen = Lock<[[Entry]]>([])
        files.onSync.withLock { hook in
            hook = {
                // The write has reached the file, and its fsync has not returned.
                let pages = [1, 3, 5].map { first in
                    (try? store.read(GroupID(1), incarnation: 1, from: LogIndex(first), bytesMax: 1 << 20)) ?? []
                }
                seen.withLock { $0 = pages }
            }
        }
        try store.write(LogBatch(.of(1, sampleEntries(3...3, term: 2) + sampleEntries(4...7, term: 2))))
        #expect(seen.withLock { $0 } == [sampleEntries(1...2), [], []])
        files.onSync.withLock { $0 = nil }
        let page = try store.read(GroupID(1), incarnation: 1, from: LogIndex(2), bytesMax: 1 << 20)
        #expect(page == sampleEntries(2...2) + sampleEntries(3...7, term: 2))
    }

    @Test("damage to an entry that is read is named with file, place and group, and nothing of it is given")
    func damage() throws {
        let files = MemoryFileSystem()
        let store = DiskLogStore(directory: "/data", fileSystem: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(3, create: 1, sampleEntries(1...4))))
        try store.write(LogBatch(.of(3, sampleEntries(5...8))))
        let file = try files.open("/data/log/00000001.seg", create: false)
        let bytes = try file.read(at: 0, count: Int(file.size))
        let text = Array("entry 6".utf8)
        let place = try #require((0..<bytes.count - 8).first { bytes[$0..<$0 + text.count].elementsEqual(text) })
        try file.write([bytes[place] ^ 4], at: UInt64(place))
        #expect(try store.read(GroupID(3), incarnation: 1, from: LogIndex(2), bytesMax: 30) == sampleEntries(2...2))
        for first in [2, 5, 8] {
            let error = try #require(throws: LogError.self) {
                try store.read(GroupID(3), incarnation: 1, from: LogIndex(UInt64(first)), bytesMax: 1 << 20)
            }
            #expect(error.code == .damaged)
            #expect(error.message.contains("/data/log/00000001.seg is damaged at byte "))
            #expect(error.message.contains("group 3"))
        }
    }

    @Test(
        "entries of one group are found among those of many, whatever was copied, cut and compacted",
        arguments: [3, 7, 19])
    func manyGroups(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let store = DiskLogStore(directory: "/data", fileSystem: MemoryFileSystem(), segmentSizeLimit: 3 << 20)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        let groups = 1...UInt64(12)
        var logs: [UInt64: [Entry]] = [:]
        for group in groups {
            try store.write(LogBatch(.of(group, create: 1)))
            logs[group] = []
        }
        var terms: [UInt64: UInt64] = [:]
        for _ in 0..<400 {
            var batch = LogBatch()
            for group in groups where Int.random(in: 0..<Int(group), using: &random) == 0 {
                var log = logs[group]!
                if log.count > 3, Int.random(in: 0..<20, using: &random) == 0 {
                    log.removeLast(Int.random(in: 1...3, using: &random))
                    terms[group, default: 1] += 1
                }
                let first = (log.last?.index.rawValue ?? 0) + 1
                let size = Int.random(in: 0..<9_000, using: &random)
                let entries = (first...first + UInt64.random(in: 0..<4, using: &random)).map {
                    sampleEntry(
                        $0, term: terms[group, default: 1], "\(group).\($0)" + String(repeating: "-", count: size))
                }
                batch.writes.append(.of(group, entries))
                log += entries
                logs[group] = log
            }
            try store.write(batch)
        }
        for group in groups {
            let log = logs[group]!
            for _ in 0..<30 {
                let start = Int.random(in: 0..<log.count, using: &random)
                let page = try store.read(
                    GroupID(group), incarnation: 1, from: log[start].index,
                    bytesMax: Int.random(in: 1...50_000, using: &random))
                #expect(!page.isEmpty && page == Array(log[start..<min(log.count, start + page.count)]))
            }
        }
    }
}

/// Files in memory that call back while a sync is under way.
private final class HookedFileSystem: FileSystem {
    let onSync = Lock<(@Sendable () -> Void)?>(nil)
    private let files = MemoryFileSystem()

    func createDirectory(_ path: String) throws(FileError) { try files.createDirectory(path) }
    func list(_ directory: String) throws(FileError) -> [String] { try files.list(directory) }
    func exists(_ path: String) -> Bool { files.exists(path) }
    func remove(_ path: String) throws(FileError) { try files.remove(path) }
    func rename(_ from: String, to: String) throws(FileError) { try files.rename(from, to: to) }
    func syncDirectory(_ directory: String) throws(FileError) { try files.syncDirectory(directory) }
    func lock(_ path: String) throws(FileError) -> any FileLock { try files.lock(path) }
    func open(_ path: String, create: Bool) throws(FileError) -> any File {
        HookedFile(try files.open(path, create: create), of: self)
    }

    private final class HookedFile: File {
        private let file: any File
        private let owner: HookedFileSystem

        init(_ file: any File, of owner: HookedFileSystem) {
            self.file = file
            self.owner = owner
        }

        var size: UInt64 {
            get throws(FileError) { try file.size }
        }
        func read(at offset: UInt64, count: Int) throws(FileError) -> [UInt8] {
            try file.read(at: offset, count: count)
        }
        func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) { try file.write(bytes, at: offset) }
        func truncate(to size: UInt64) throws(FileError) { try file.truncate(to: size) }
        func sync() throws(FileError) {
            owner.onSync.withLock { $0 }?()
            try file.sync()
        }
    }
}
