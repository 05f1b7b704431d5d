import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Files that are used again, and disks that are full.
@Suite struct LogSpaceTests {
    private let files = PowerLossFileSystem()

    private func open(limit: UInt64 = 1000) throws -> (DiskLogStore, StoredLog) {
        let store = DiskLogStore(directory: "/data", fileSystem: files, segmentSizeLimit: limit)
        let log = try store.openAndRead()
        try store.persistIdentity(sampleIdentity)
        return (store, log)
    }

    private var names: [String] { files.contents.keys.filter { $0.hasPrefix("/data/log/") }.sorted() }

    @Test("a segment in which nothing is live is written again, under a new identity and number")
    func reuse() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1)))
        var identities: Set<UInt64> = []
        var files: Set<ObjectIdentifier> = []
        for index: UInt64 in 1...400 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")])))
            if index % 10 == 0 {
                try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(index))))
            }
            for (path, inode) in self.files.state.withLock({ $0.current }) where path.hasSuffix(".seg") {
                identities.insert(try SegmentHeader(self.files.contents[path]!, path: path).id)
                files.insert(ObjectIdentifier(inode))
            }
            #expect(names.count <= 5, "\(names)")
        }
        #expect(identities.count > 30, "\(identities.count) segments")
        #expect(files.count < 8, "\(files.count) files")
        self.files.losePower()
        let (_, log) = try open()
        #expect(log.groups[0].entries.isEmpty && log.groups[0].snapshot == sampleSnapshot(400))
    }

    @Test("a write into room that was made does not change the size of a file")
    func writtenAhead() throws {
        let (store, _) = try open(limit: 64 << 10)
        try store.write(LogBatch(.of(1, create: 1)))
        let path = "/data/log/00000001.seg"
        var sizes: Set<Int> = []
        for index: UInt64 in 1...200 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")])))
            sizes.insert(files.contents[path]!.count)
        }
        #expect(sizes.allSatisfy { $0 % 4096 == 0 } && (2...8).contains(sizes.count), "\(sizes.sorted())")
    }

    @Test("the segment that was left just now is not emptied by copying; once there is another behind it, it is")
    func justLeft() throws {
        let (store, _) = try open(limit: 16 << 10)
        try store.write(LogBatch(.of(1, create: 1)))
        try store.write(LogBatch(.of(2, create: 1)))
        try store.write(LogBatch(.of(2, [sampleEntry(1, "of a group that moves slowly")])))
        var isFirstThere: [Bool] = []
        for index: UInt64 in 1...2_000 where isFirstThere.count < 2 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, String(repeating: "x", count: 100))])))
            if index % 10 == 0 { try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(index)))) }
            if names.contains("/data/log/0000000\(isFirstThere.count + 2).seg") {
                isFirstThere.append(names.contains("/data/log/00000001.seg"))
            }
        }
        #expect(isFirstThere == [true, false])
    }

    @Test("what many groups have in an old segment leaves it in one write")
    func copiesTogether() throws {
        let (store, _) = try open(limit: 16 << 10)
        var first = LogBatch()
        first.writes.append(.of(99, create: 1))
        for group: UInt64 in 1...40 { first.writes.append(.of(group, create: 1, [sampleEntry(1, "abcd")])) }
        try store.write(first)
        let before = store.lastWrite
        let large = String(repeating: "x", count: 1000)
        for index: UInt64 in 1...50 {
            try store.write(LogBatch(.of(99, [sampleEntry(index, large)])))
            if index % 10 == 0 { try store.write(LogBatch(.of(99, snapshot: sampleSnapshot(index)))) }
        }
        #expect(!names.contains("/data/log/00000001.seg"), "\(names)")
        let others = store.lastWrite - before - 55
        #expect(others < 20, "\(others) writes for segments and copies")
        files.losePower()
        let (_, log) = try open(limit: 16 << 10)
        #expect(log.groups.count == 41)
        #expect(log.groups.dropLast().allSatisfy { $0.entries == [sampleEntry(1, "abcd")] })
    }

    @Test("spare files survive a restart, and what is too many of them goes")
    func sparesAtStart() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1)))
        for index: UInt64 in 1...100 { try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")]))) }
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(100))))
        let spares = names.filter { $0.hasSuffix(".free") }
        #expect(spares.count == 2)
        try store.close()
        for number: UInt64 in 90...95 {
            let file = try files.open("/data/log/\(LogFormat.spareName(number))", create: true)
            try file.write([1, 2, 3], at: 0)
        }
        _ = try open()
        #expect(names.filter { $0.hasSuffix(".free") } == spares)
    }

    @Test("a disk that is full refuses the write by name, changes nothing, and takes it when there is room")
    func full() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...3))))
        files.state.withLock { $0.capacity = 0 }
        var last: UInt64 = 3
        var error: LogError?
        while error == nil {
            do {
                try store.write(LogBatch(.of(1, [sampleEntry(last + 1)])))
                last += 1
            } catch let failure { error = failure }
        }
        #expect(error?.code == .diskFull && error?.message.contains("make room on that disk") == true)
        #expect(error?.message.contains("/data/log/0000000") == true, "\(error!)")
        for _ in 0..<3 {
            #expect(throws: LogError.self) { try store.write(LogBatch(.of(1, [sampleEntry(last + 1)]))) }
        }
        files.state.withLock { $0.capacity = nil }
        try store.write(LogBatch(.of(1, [sampleEntry(last + 1)])))
        files.losePower()
        let (_, log) = try open()
        #expect(log.groups[0].entries.map(\.index.rawValue) == Array(1...last + 1))
        #expect(log.groups[0].recoveringUntil == nil && log.tornBytes == 0)
        #expect(!names.contains { $0.hasSuffix(".tmp") })
    }

    @Test("whatever the size of the disk, what was acknowledged is there after it was full and the power failed")
    func anyCapacity() throws {
        var stops: Set<Int> = []
        for capacity in stride(from: 1000, to: 12_000, by: 61) {
            let files = PowerLossFileSystem()
            let store = DiskLogStore(
                directory: "/data", fileSystem: files, segmentSizeLimit: 800, payloadFileLimit: 10)
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            files.state.withLock { $0.capacity = capacity }
            var acknowledged: UInt64 = 0
            do {
                try store.write(LogBatch(.of(1, create: 1)))
                for index: UInt64 in 1...150 {
                    try store.write(LogBatch(.of(1, [sampleEntry(index, "payload \(index)")])))
                    acknowledged = index
                }
            } catch {
                #expect(error.code == .diskFull, "\(capacity) bytes: \(error)")
            }
            stops.insert(Int(acknowledged))
            files.state.withLock { $0.capacity = nil }
            let left = files.contents.keys.filter { $0.contains("/payloads/") }.count
            #expect(left == max(0, Int(acknowledged) - 99), "\(capacity) bytes")
            files.losePower(unsynced: capacity.isMultiple(of: 2) ? .lost : .kept)
            let next = DiskLogStore(directory: "/data", fileSystem: files, segmentSizeLimit: 800)
            let log = try next.openAndRead()
            let entries = log.groups.first?.entries ?? []
            #expect(entries.map(\.index.rawValue) == (acknowledged == 0 ? [] : Array(1...acknowledged)))
            #expect(log.groups.allSatisfy { $0.recoveringUntil == nil }, "\(capacity) bytes")
        }
        #expect(stops.count > 20)
    }
}
