import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Power fails, writes tear: what was acknowledged is there, what was not is there whole or not at all.
@Suite struct LogCrashTests {
    private static let directory = "/data"

    private func store(on files: PowerLossFileSystem, limit: UInt64 = 64 << 20) -> DiskLogStore {
        DiskLogStore(directory: Self.directory, fileSystem: files, segmentSizeLimit: limit) {
            0x5EED
        }
    }

    /// A log of a few batches that was not closed.
    private func sampleLog(last: LogBatch) throws -> (
        before: PowerLossFileSystem, after: PowerLossFileSystem
    ) {
        let files = PowerLossFileSystem()
        let store = store(on: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(
            LogBatch(
                .of(
                    1, create: 1, hardState: HardState(term: Term(1), vote: ReplicaID(1)),
                    sampleEntries(1...3)),
                .of(2, create: 2, sampleEntries(1...2))))
        try store.write(
            LogBatch(
                .of(
                    2, hardState: HardState(term: Term(2), commit: LogIndex(1)),
                    sampleEntries(3...4))))
        let before = PowerLossFileSystem(files.contents)
        try store.write(last)
        return (before, PowerLossFileSystem(files.contents))
    }

    private var lastBatch: LogBatch {
        LogBatch(
            .of(
                1, hardState: HardState(term: Term(2), vote: ReplicaID(2), commit: LogIndex(3)),
                sampleEntries(3...6, term: 2)),
            .of(3, create: 9, hardState: HardState(term: Term(1)), sampleEntries(1...1)),
            .of(2, hardState: HardState(term: Term(3))))
    }

    private static let segmentPath = directory + "/log/00000001.seg"

    @Test("a crash at every byte of the last write leaves exactly what was before it")
    func tornWrite() throws {
        let (before, after) = try sampleLog(last: lastBatch)
        let expected = Holdings(try store(on: before).open())
        let complete = Holdings(try store(on: PowerLossFileSystem(after.contents)).open())
        #expect(expected != complete)
        let start = before.contents[Self.segmentPath]!.count
        let full = after.contents[Self.segmentPath]!
        for length in start..<full.count {
            var contents = after.contents
            contents[Self.segmentPath] = Array(full[..<length])
            let files = PowerLossFileSystem(contents)
            let reopened = store(on: files)
            let log = try reopened.open()
            #expect(Holdings(log) == expected, "cut to \(length) bytes")
            #expect(log.tornBytes == UInt64(length - start))
            #expect(files.contents[Self.segmentPath]!.count == start)
            // The log goes on behind the cut.
            try reopened.write(LogBatch(.of(1, sampleEntries(4...4))))
            files.losePower()
            let next = try store(on: files).open()
            #expect(next.groups[0].entries == sampleEntries(1...4))
            #expect(next.tornBytes == 0 && next.bootCounter == log.bootCounter + 1)
        }
    }

    @Test("zeros at the end are a write that never completed")
    func zeroTail() throws {
        let (before, _) = try sampleLog(last: lastBatch)
        let expected = Holdings(try store(on: PowerLossFileSystem(before.contents)).open())
        for count in [1, 27, 28, 512, 10_000] {
            var contents = before.contents
            contents[Self.segmentPath]! += Array(repeating: 0, count: count)
            let log = try store(on: PowerLossFileSystem(contents)).open()
            #expect(Holdings(log) == expected, "\(count) zeros")
            #expect(log.tornBytes == UInt64(count))
        }
    }

    @Test(
        "a last batch of full length with zeros in its entries leaves its groups recovering, with their votes"
    )
    func ambiguousEntries() throws {
        let (_, after) = try sampleLog(last: lastBatch)
        var contents = after.contents
        let count = contents[Self.segmentPath]!.count
        for offset in (count - 20)..<count { contents[Self.segmentPath]![offset] = 0 }
        let files = PowerLossFileSystem(contents)
        var holdings: [Holdings] = []
        // The second time nothing is damaged any more, and it is still known.
        for _ in 0..<2 {
            let log = try store(on: files).open()
            holdings.append(Holdings(log))
            files.losePower()
        }
        #expect(holdings[0] == holdings[1])
        let groups = holdings[0].groups
        #expect(groups.map(\.recoveringUntil) == [LogIndex(6), nil, LogIndex(1)])
        #expect(groups.map(\.replica.group) == [GroupID(1), GroupID(2), GroupID(3)])
        #expect(groups[0].entries == sampleEntries(1...2))
        #expect(groups[0].hardState == HardState(term: Term(2), vote: ReplicaID(2), commit: .zero))
        #expect(groups[1].hardState == HardState(term: Term(3)))
        #expect(groups[2].entries.isEmpty && groups[2].hardState.term == Term(1))
    }

    @Test(
        "a last batch whose header or heads are damaged leaves every group recovering, through further crashes"
    )
    func ambiguousHeader() throws {
        let (before, after) = try sampleLog(last: lastBatch)
        let start = before.contents[Self.segmentPath]!.count
        let expected = Holdings(try store(on: before).open())
        for offset in [0, 4, 8, 16, 20, 24, 28, 40] {
            var contents = after.contents
            contents[Self.segmentPath]![start + offset] ^= 0x40
            let files = PowerLossFileSystem(contents)
            for _ in 0..<2 {
                let log = Holdings(try store(on: files).open())
                #expect(
                    log.groups.map(\.entries) == expected.groups.map(\.entries), "flipped \(offset)"
                )
                for group in log.groups {
                    let until = try #require(group.recoveringUntil)
                    #expect(until > group.entries.last?.index ?? .zero, "flipped \(offset)")
                }
                files.losePower()
            }
        }
    }

    @Test("a replica stops recovering when a leader has brought it past the claimed end")
    func recovered() throws {
        let (_, after) = try sampleLog(last: lastBatch)
        var contents = after.contents
        let count = contents[Self.segmentPath]!.count
        contents[Self.segmentPath]![count - 1] ^= 1
        let files = PowerLossFileSystem(contents)
        let first = store(on: files)
        #expect(try first.open().groups[0].recoveringUntil == LogIndex(6))
        try first.write(LogBatch(.of(1, sampleEntries(3...5, term: 2))))
        files.losePower()
        let second = store(on: files)
        #expect(try second.open().groups[0].recoveringUntil == LogIndex(6))
        try second.write(LogBatch(.of(1, sampleEntries(6...6, term: 2))))
        files.losePower()
        #expect(try store(on: files).open().groups[0].recoveringUntil == nil)
    }

    @Test("after a clean close no damage is taken for a torn write")
    func cleanClose() throws {
        let files = PowerLossFileSystem()
        let first = store(on: files)
        _ = try first.open()
        try first.persistIdentity(sampleIdentity)
        try first.write(LogBatch(.of(1, create: 1, sampleEntries(1...3))))
        try first.write(LogBatch(.of(1, sampleEntries(4...5))))
        try first.close()
        files.losePower()
        let closed = files.contents
        let full = closed[Self.segmentPath]!
        let log = try store(on: PowerLossFileSystem(closed)).open()
        #expect(log.groups[0].entries == sampleEntries(1...5))
        for length in 0..<full.count {
            var contents = closed
            contents[Self.segmentPath] = Array(full[..<length])
            let error = try #require(throws: LogError.self) {
                try store(on: PowerLossFileSystem(contents)).open()
            }
            #expect(error.code == .damaged, "cut to \(length)")
            #expect(
                error.message.contains("00000001.seg") && error.message.contains("remove this node")
            )
        }
    }

    @Test(
        "damage in the last batch of a closed log names the group, and the marker is gone once the log is open"
    )
    func closedMarker() throws {
        let files = PowerLossFileSystem()
        let first = store(on: files)
        _ = try first.open()
        try first.persistIdentity(sampleIdentity)
        try first.write(LogBatch(.of(17, create: 1, sampleEntries(1...3))))
        try first.close()
        var contents = files.contents
        contents[Self.segmentPath]![contents[Self.segmentPath]!.count - 6] ^= 1
        let error = try #require(throws: LogError.self) {
            try store(on: PowerLossFileSystem(contents)).open()
        }
        #expect(error.code == .damaged && error.message.contains("group 17, incarnation 1"))
        #expect(files.contents["/data/clean"] != nil)
        _ = try store(on: files).open()
        files.losePower()
        #expect(files.contents["/data/clean"] == nil)
    }

    @Test("flipping any byte of a closed directory is an error, or changes nothing")
    func flipsAfterClose() throws {
        let files = PowerLossFileSystem()
        let first = store(on: files, limit: 300)
        _ = try first.open()
        try first.persistIdentity(sampleIdentity)
        try fill(first)
        try first.close()
        let closed = files.contents
        #expect(closed.keys.filter { $0.hasSuffix(".seg") }.count > 1)
        for (path, bytes) in closed.sorted(by: { $0.key < $1.key }) {
            for offset in bytes.indices {
                var contents = closed
                contents[path]![offset] ^= UInt8(1 << (offset % 8))
                let damaged = store(on: PowerLossFileSystem(contents), limit: 300)
                let error = #expect(throws: LogError.self, "\(path) byte \(offset)") {
                    _ = try damaged.open()
                }
                #expect(
                    error.map { [.damaged, .unknownVersion, .missing].contains($0.code) } == true)
            }
        }
    }

    @Test(
        "flipping any byte of a log that was not closed is an error, or leaves a prefix that is known to be one"
    )
    func flipsAfterCrash() throws {
        let files = PowerLossFileSystem()
        let first = store(on: files, limit: 300)
        _ = try first.open()
        try first.persistIdentity(sampleIdentity)
        try fill(first)
        let crashed = files.contents
        let whole = Holdings(try store(on: PowerLossFileSystem(crashed)).open())
        var recovering = 0
        for (path, bytes) in crashed.sorted(by: { $0.key < $1.key }) where path.hasSuffix(".seg") {
            for offset in bytes.indices {
                var contents = crashed
                contents[path]![offset] ^= UInt8(1 << (offset % 8))
                guard let log = try? store(on: PowerLossFileSystem(contents), limit: 300).open()
                else { continue }
                let found = Holdings(log)
                recovering += 1
                #expect(found.groups.count == whole.groups.count, "\(path) byte \(offset)")
                for (group, complete) in zip(found.groups, whole.groups) where group != complete {
                    #expect(group.recoveringUntil != nil, "\(path) byte \(offset): \(group)")
                    #expect(complete.entries.starts(with: group.entries), "\(path) byte \(offset)")
                }
            }
        }
        #expect(recovering > 0)
    }

    private func fill(_ store: DiskLogStore) throws {
        try store.write(
            LogBatch(.of(1, create: 1, hardState: HardState(term: Term(1)), sampleEntries(1...4))))
        try store.write(
            LogBatch(.of(1, snapshot: sampleSnapshot(2)), .of(2, create: 1, sampleEntries(1...8))))
        try store.write(
            LogBatch(.of(2, hardState: HardState(term: Term(3)), sampleEntries(9...16))))
        try store.write(
            LogBatch(.of(1, sampleEntries(5...6, term: 2)), .of(2, sampleEntries(17...18))))
    }
}
