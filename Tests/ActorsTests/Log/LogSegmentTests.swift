import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Segments are left, deleted and missed.
@Suite struct LogSegmentTests {
    private let files = PowerLossFileSystem()

    private func open(_ files: PowerLossFileSystem? = nil, limit: UInt64 = 400) throws -> (
        DiskLogStore, StoredLog
    ) {
        let store = DiskLogStore(
            directory: "/data", fileSystem: files ?? self.files, segmentSizeLimit: limit)
        let log = try store.openAndRead()
        try store.persistIdentity(sampleIdentity)
        return (store, log)
    }

    private var segmentNames: [String] {
        files.contents.keys.filter { $0.hasSuffix(".seg") }.sorted()
    }

    private var logBytes: Int {
        files.contents.filter { $0.key.hasSuffix(".seg") }.reduce(0) { $0 + $1.value.count }
    }

    @Test("segments without live entries are deleted as soon as a snapshot covers them")
    func deletion() throws {
        let (store, _) = try open()
        try store.write(
            LogBatch(.of(1, create: 1, hardState: HardState(term: Term(4), vote: ReplicaID(1)))))
        for index: UInt64 in 1...200 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")])))
        }
        #expect(segmentNames.count > 10)
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(200))))
        #expect(segmentNames.count == 1)
        try store.close()
        let (_, log) = try open()
        #expect(log.groups[0].hardState == HardState(term: Term(4), vote: ReplicaID(1)))
        #expect(log.groups[0].snapshot == sampleSnapshot(200))
        #expect(log.groups[0].entries.isEmpty)
    }

    @Test("a group that is removed gives its space back")
    func removedGroup() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1), .of(2, create: 1)))
        for index: UInt64 in 1...100 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")])))
        }
        try store.write(LogBatch(.of(1, isRemoved: true)))
        #expect(segmentNames.count == 1)
        try store.close()
        let (_, log) = try open()
        #expect(log.groups.map(\.replica.group) == [GroupID(2)])
        #expect(log.removedReplicas == [sampleReplica(1)])
    }

    @Test("the log stays small however long it is written to, also beside groups that never move")
    func boundedSpace() throws {
        let limit: UInt64 = 4096
        let (store, _) = try open(limit: limit)
        // One group idles with a little, one with more than a segment.
        let little = sampleEntries(1...3)
        let much = sampleEntries(1...80, String(repeating: "much ", count: 20))
        try store.write(LogBatch(.of(2, create: 1, little), .of(3, create: 1, much)))
        try store.write(LogBatch(.of(1, create: 1)))
        var largest = 0
        for index: UInt64 in 1...6000 {
            let write = LogBatch.Write.of(
                1, [sampleEntry(index, "payload of a group that is busy")])
            try store.write(LogBatch(write))
            if index % 50 == 0 {
                try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(index))))
            }
            largest = max(largest, logBytes)
        }
        let live = much.reduce(0) { $0 + $1.payload.count + 16 } + 50 * 48
        #expect(largest < 3 * live + 6 * Int(limit), "\(largest) bytes for \(live) live ones")
        #expect(UInt64(segmentNames.last!.dropFirst("/data/log/".count).prefix(8))! > 100)
        try store.close()
        let (_, log) = try open(limit: limit)
        #expect(log.groups.map(\.entries) == [[], little, much])
    }

    @Test("a missing segment is named", arguments: [true, false])
    func missing(isClosed: Bool) throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1)))
        for index: UInt64 in 1...60 {
            try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")])))
        }
        if isClosed { try store.close() }
        let whole = files.contents
        let names = segmentNames
        #expect(names.count > 3)
        for name in names {
            var contents = whole
            contents[name] = nil
            let error = try #require(throws: LogError.self) {
                try open(PowerLossFileSystem(contents))
            }
            #expect(error.code == .missing && error.message.contains(name), "\(name): \(error)")
        }
        var contents = whole
        for name in names { contents[name] = nil }
        if isClosed {
            #expect(throws: LogError.self) { try open(PowerLossFileSystem(contents)) }
        }
    }

    @Test("a segment of another node is refused, and so is one under another name")
    func foreign() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...3))))
        let other = PowerLossFileSystem()
        let stranger = DiskLogStore(directory: "/data", fileSystem: other)
        _ = try stranger.open()
        try stranger.persistIdentity(NodeIdentity(cluster: 0xC1, node: NodeID(7), instance: 5))
        try stranger.write(LogBatch(.of(1, create: 1)))
        var contents = files.contents
        contents["/data/log/00000001.seg"] = other.contents["/data/log/00000001.seg"]
        let error = try #require(throws: LogError.self) { try open(PowerLossFileSystem(contents)) }
        #expect(error.code == .damaged && error.message.contains("another node"))

        contents = files.contents
        contents["/data/log/00000002.seg"] = contents.removeValue(forKey: "/data/log/00000001.seg")
        #expect(throws: LogError.self) { try open(PowerLossFileSystem(contents)) }
    }

    @Test("a record that was copied from elsewhere in the log never verifies")
    func relocated() throws {
        let (store, _) = try open(limit: 1 << 20)
        try store.write(LogBatch(.of(1, create: 1)))
        try store.write(LogBatch(.of(1, sampleEntries(1...2))))
        let path = "/data/log/00000001.seg"
        var bytes = files.contents[path]!
        let id = try SegmentHeader(bytes, path: path).id
        let starts = bytes.indices.filter { BatchHeader(bytes, at: $0, segment: id) != nil }
        #expect(starts.count == 3)
        let header = try #require(BatchHeader(bytes, at: starts[2], segment: id))
        let end = starts[2] + header.batchBytes
        bytes.replaceSubrange(end..<end + header.batchBytes, with: bytes[starts[2]..<end])
        #expect(BatchHeader(bytes, at: starts[2], segment: id) != nil)
        #expect(BatchHeader(bytes, at: end, segment: id) == nil)
        #expect(BatchHeader(bytes, at: starts[2], segment: id + 1) == nil)
    }

    @Test(
        "a newer format is refused by name",
        arguments: ["log/00000001.seg", "identity", "boot", "clean"])
    func version(_ name: String) throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1)))
        try store.close()
        var contents = files.contents
        contents["/data/" + name]![8] += 1
        let error = try #require(throws: LogError.self) { try open(PowerLossFileSystem(contents)) }
        #expect(error.code == .unknownVersion && error.message.contains(name))
    }

    @Test("unfinished files are removed at open")
    func leftovers() throws {
        let (store, _) = try open()
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...9))))
        var contents = files.contents
        for name in [
            "log/00000002.seg.tmp", "identity.tmp",
        ] {
            contents["/data/" + name] = [1, 2, 3]
        }
        let copy = PowerLossFileSystem(contents)
        _ = try open(copy)
        #expect(
            copy.contents.keys.sorted() == [
                "/data/boot", "/data/identity", "/data/log/00000001.seg",
            ])
    }
}
