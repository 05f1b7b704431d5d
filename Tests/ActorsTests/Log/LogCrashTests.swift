import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Power fails, writes tear: what was acknowledged is there, what was not is there whole or not at all.
@Suite struct LogCrashTests {
    private static let directory = "/data"

    private func store(on files: PowerLossFileSystem, limit: UInt64 = 4096) -> DiskLogStore {
        DiskLogStore(directory: Self.directory, fileSystem: files, segmentSizeLimit: limit)
    }

    /// A log that was not closed, before and after its last write.
    private struct Sample {
        var before: [String: [UInt8]]
        var after: [String: [UInt8]]
        /// Of the segment that the write went to.
        var path: String
        /// Where the write stands, without the zeros behind it.
        var batch: Range<Int>

        init(last: LogBatch, inReusedFile isReused: Bool = false) throws {
            let files = PowerLossFileSystem()
            let store = DiskLogStore(directory: directory, fileSystem: files, segmentSizeLimit: 4096)
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            if isReused { try reuseFile(store) }
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
            before = files.contents
            try store.write(last)
            after = files.contents
            let old = try lastSegment(before)
            path = "\(directory)/log/\(LogFormat.segmentName(old.number))"
            batch = Int(old.end)..<Int(try lastSegment(after).end)
            let behind = batch.upperBound + LogFormat.terminatorBytes
            #expect(after[path]![behind...].contains { $0 != 0 } == isReused)
        }
    }

    /// Fills segments and gives them up, until the log goes on in a file that was one of them.
    private static func reuseFile(_ store: DiskLogStore) throws {
        try store.write(LogBatch(.of(99, create: 1)))
        for index: UInt64 in 1...200 { try store.write(LogBatch(.of(99, [sampleEntry(index, "of an earlier life")]))) }
        try store.write(LogBatch(.of(99, snapshot: sampleSnapshot(200))))
        let rest = String(repeating: "r", count: 4096)
        try store.write(LogBatch(.of(99, [sampleEntry(201, rest)])))
        try store.write(LogBatch(.of(99, snapshot: sampleSnapshot(201), isRemoved: true)))
    }

    private static func lastSegment(_ contents: [String: [UInt8]]) throws -> LogSegment {
        var recovery = LogRecovery(
            files: PowerLossFileSystem(contents), directory: directory + "/log", instance: sampleIdentity.instance,
            marker: nil)
        try recovery.run()
        return try #require(recovery.segments.last)
    }

    private var lastBatch: LogBatch {
        LogBatch(
            .of(
                1, hardState: HardState(term: Term(2), vote: ReplicaID(2), commit: LogIndex(3)),
                sampleEntries(3...6, term: 2)),
            .of(3, create: 9, hardState: HardState(term: Term(1)), sampleEntries(1...1)),
            .of(2, hardState: HardState(term: Term(3))))
    }

    @Test(
        "a crash at every byte of the last write leaves what was before it, in a new file and in one that is used again",
        arguments: [false, true])
    func tornWrite(inReusedFile isReused: Bool) throws {
        let sample = try Sample(last: lastBatch, inReusedFile: isReused)
        let expected = Holdings(try store(on: PowerLossFileSystem(sample.before)).openAndRead())
        let complete = Holdings(try store(on: PowerLossFileSystem(sample.after)).openAndRead())
        #expect(expected != complete)
        var torn = 0
        let end = sample.batch.upperBound
        let positions = sample.batch.lowerBound...end + LogFormat.terminatorBytes
        for cut in positions {
            var contents = sample.after
            contents[sample.path] = Array(sample.after[sample.path]![..<cut] + sample.before[sample.path]![cut...])
            let files = PowerLossFileSystem(contents)
            let reopened = store(on: files)
            let log = try reopened.openAndRead()
            var found = Holdings(log)
            // A byte may have been there before.
            let bytes = end - LogFormat.checksumBytes
            let isComplete = contents[sample.path]![..<bytes] == sample.after[sample.path]![..<bytes]
            if isReused, isComplete, cut < end + LogFormat.batchHeaderBytes {
                // What is left of the file's earlier use looks like a damaged header. No sector is torn there.
                for group in found.groups.indices { found.groups[group].recoveringUntil = nil }
            } else {
                #expect((log.tornBytes > 0) == (cut > sample.batch.lowerBound && !isComplete), "cut at byte \(cut)")
            }
            #expect(found == (isComplete ? complete : expected), "cut at byte \(cut)")
            if log.tornBytes > 0 { torn += 1 }
            // The log goes on behind the cut.
            let next = isComplete ? sampleEntries(7...7, term: 2) : sampleEntries(4...4)
            try reopened.write(LogBatch(.of(1, next)))
            files.losePower()
            let last = try store(on: files).openAndRead()
            #expect(last.groups[0].entries == log.groups[0].entries + next)
            #expect(last.tornBytes == 0 && last.bootCounter == log.bootCounter + 1)
        }
        print("torn write, reused file \(isReused): \(positions.count) of \(positions.count) positions, \(torn) torn")
    }

    @Test("the end mark of a batch and the zeros behind it share a sector, wherever the batch ends")
    func sectors() throws {
        for size in 0...2 * LogFormat.sectorBytes {
            var bytes = [UInt8](repeating: 1, count: 64)
            let body = [UInt8](repeating: 2, count: size)
            BatchHeader.append(.writes, sequence: 1, heads: [1], body: body, segment: 7, offset: 64, to: &bytes)
            let header = try #require(BatchHeader(bytes, at: 64, segment: 7))
            #expect(64 + header.batchBytes + LogFormat.terminatorBytes == bytes.count)
            let endMark = 64 + header.batchBytes - LogFormat.checksumBytes
            #expect(endMark / LogFormat.sectorBytes == (bytes.count - 1) / LogFormat.sectorBytes, "\(size) bytes")
            #expect(bytes.littleEndian32(at: endMark) == header.checksum)
        }
    }

    @Test("a file that became longer and is not yet, or only zeros, ends the log where its last batch does")
    func lostGrowth() throws {
        let sample = try Sample(last: lastBatch)
        let expected = Holdings(try store(on: PowerLossFileSystem(sample.before)).openAndRead())
        let end = sample.batch.lowerBound
        for count in [0, 1, 27, 28, 29, 512, 10_000] {
            var contents = sample.before
            contents[sample.path] = sample.before[sample.path]![..<end] + Array(repeating: 0, count: count)
            let files = PowerLossFileSystem(contents)
            let log = try store(on: files).openAndRead()
            #expect(Holdings(log) == expected, "\(count) zeros")
            #expect(log.tornBytes == 0)
        }
    }

    @Test(
        "a last batch of full length with zeros in its entries leaves its groups recovering, with their votes"
    )
    func ambiguousEntries() throws {
        let sample = try Sample(last: lastBatch)
        var contents = sample.after
        // Each group's entries end with their text.
        for offset in sample.batch where contents[sample.path]![offset...].starts(with: Array("entry".utf8)) {
            contents[sample.path]![offset] = 0
        }
        let files = PowerLossFileSystem(contents)
        var holdings: [Holdings] = []
        // The second time nothing is damaged any more, and it is still known.
        for _ in 0..<2 {
            let log = try store(on: files).openAndRead()
            holdings.append(Holdings(log))
            files.losePower()
        }
        #expect(holdings[0] == holdings[1])
        let groups = holdings[0].groups
        #expect(groups.map(\.recoveringUntil) == [LogIndex(6), nil, LogIndex(1)])
        #expect(groups.map(\.replica.group) == [GroupID(1), GroupID(2), GroupID(3)])
        #expect(groups[0].entries == sampleEntries(1...2))
        #expect(groups[0].hardState == HardState(term: Term(2), vote: ReplicaID(2), commit: LogIndex(2)))
        #expect(groups[1].hardState == HardState(term: Term(3)))
        #expect(groups[2].entries.isEmpty && groups[2].hardState.term == Term(1))
    }

    @Test(
        "a last batch whose header or heads are damaged leaves every group recovering, through further crashes"
    )
    func ambiguousHeader() throws {
        let sample = try Sample(last: lastBatch)
        let expected = Holdings(try store(on: PowerLossFileSystem(sample.before)).openAndRead())
        for offset in [0, 4, 8, 16, 20, 24, 28, 40] {
            var contents = sample.after
            contents[sample.path]![sample.batch.lowerBound + offset] ^= 0x40
            let files = PowerLossFileSystem(contents)
            for _ in 0..<2 {
                let log = Holdings(try store(on: files).openAndRead())
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
        let sample = try Sample(last: lastBatch)
        var contents = sample.after
        let entry = try #require(
            sample.batch.first { contents[sample.path]![$0...].starts(with: Array("entry".utf8)) })
        contents[sample.path]![entry] ^= 1
        let files = PowerLossFileSystem(contents)
        let first = store(on: files)
        #expect(try first.openAndRead().groups[0].recoveringUntil == LogIndex(6))
        try first.write(LogBatch(.of(1, sampleEntries(3...5, term: 2))))
        files.losePower()
        let second = store(on: files)
        #expect(try second.openAndRead().groups[0].recoveringUntil == LogIndex(6))
        try second.write(LogBatch(.of(1, sampleEntries(6...6, term: 2))))
        files.losePower()
        #expect(try store(on: files).openAndRead().groups[0].recoveringUntil == nil)
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
        let last = try Self.lastSegment(closed)
        let path = "/data/log/\(LogFormat.segmentName(last.number))"
        let full = closed[path]!
        for length in 0..<full.count {
            var contents = closed
            contents[path] = Array(full[..<length])
            guard length < Int(last.end) else {
                let log = try store(on: PowerLossFileSystem(contents)).openAndRead()
                #expect(log.groups[0].entries == sampleEntries(1...5))
                continue
            }
            let error = try #require(throws: LogError.self) {
                try store(on: PowerLossFileSystem(contents)).openAndRead()
            }
            #expect(error.code == .damaged, "cut to \(length)")
            #expect(
                error.message.contains("00000001.seg") && error.message.contains("remove this node")
            )
        }
    }

    @Test(
        "damage in the heads of the last batch of a closed log is refused, and the marker is gone once the log is open"
    )
    func closedMarker() throws {
        let files = PowerLossFileSystem()
        let first = store(on: files)
        _ = try first.open()
        try first.persistIdentity(sampleIdentity)
        try first.write(LogBatch(.of(17, create: 1, sampleEntries(1...3))))
        try first.close()
        var contents = files.contents
        let end = try Self.lastSegment(contents).end
        let bytes = contents["/data/log/00000001.seg"]!
        let heads = try #require(
            bytes.indices.prefix(Int(end)).last { bytes[$0...].starts(with: Array("FBAT".utf8)) })
        contents["/data/log/00000001.seg"]![heads + LogFormat.batchHeaderBytes] ^= 1
        let error = try #require(throws: LogError.self) {
            try store(on: PowerLossFileSystem(contents)).openAndRead()
        }
        #expect(error.code == .damaged && error.message.contains("byte \(heads)"))
        #expect(files.contents["/data/clean"] != nil)
        _ = try store(on: files).open()
        files.losePower()
        #expect(files.contents["/data/clean"] == nil)
    }
}
