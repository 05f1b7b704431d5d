import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

@Suite struct SnapshotStoreTests {
    /// 0, 1, n * k, n * k + 1 bytes in chunks of k.
    static let sizes = [0, 1, 15, 16, 17, 64, 65]

    @Test(
        "RM-15: what is saved comes back whole, from any byte on, by chunk, and with its metadata", arguments: sizes,
        [false, true])
    func roundTrip(_ size: Int, _ isCompressed: Bool) throws {
        let files = MemoryFileSystem()
        let id = sampleID(5)
        let state = sampleState(size)
        let first = StoreUnderTest(files, isCompressed: isCompressed)
        _ = try first { try $0.open(for: RecoveredLog()) }
        let report = try first { try $0.save(state, as: id) }
        // Another process reads it.
        let store = StoreUnderTest(files)
        #expect(try store { try $0.open(for: sampleLog(naming: [id])) } == [id.group: state])
        #expect(try store { try $0.load(id) } == state)
        for offset in 0...size {
            let tail = try store { store in
                var tail: [UInt8] = []
                try store.stream(id, from: UInt64(offset)) { tail += $0 }
                return tail
            }
            #expect(tail == Array(state[offset...]))
        }
        let metadata = try store { try $0.metadata(id) }
        #expect(metadata.sizeBytes == UInt64(size) && metadata.checksum == CRC32C.checksum(state))
        #expect(metadata.chunkBytes == 16 && metadata.storedBytes == report.storedBytes)
        let pieces = try store { store in
            try stride(from: 0, to: size, by: 16).flatMap {
                try store.pieces(
                    for: SnapshotRequest(id: id, checksum: metadata.checksum, offset: UInt64($0), pieceBytes: 64))
            }
        }
        #expect(pieces == samplePieces(state, of: id))
    }

    @Test("RM-18: compression saves space where there is some to save, and both sizes are reported")
    func compression() throws {
        let state = [UInt8](repeating: 7, count: 100_000)
        let sizes = try [false, true].map { isCompressed in
            let store = StoreUnderTest(MemoryFileSystem(), chunkBytes: 10_000, isCompressed: isCompressed)
            _ = try store { try $0.open(for: RecoveredLog()) }
            let report = try store { try $0.save(state, as: sampleID(1)) }
            #expect(report.sizeBytes == 100_000)
            #expect(try store { try $0.load(sampleID(1)) } == state)
            return report.storedBytes
        }
        #expect(sizes[0] > 100_000 && sizes[1] < 5_000, "\(sizes)")
    }

    @Test("compact keeps the newest, and leaves other groups, lives and newer ones alone")
    func compact() throws {
        let store = StoreUnderTest(MemoryFileSystem())
        _ = try store { try $0.open(for: RecoveredLog()) }
        let kept = [sampleID(30), sampleID(40), sampleID(50), sampleID(10, group: 2)]
        let gone = [sampleID(10), sampleID(20), sampleID(90, incarnation: 0)]
        for id in kept + gone { _ = try store { try $0.save([1], as: id) } }
        try store { try $0.compact(sampleID(40), keep: 2) }
        for id in kept { #expect(try store { try $0.load(id) } == [1]) }
        for id in gone {
            let error = #expect(throws: LogError.self) { _ = try store { try $0.load(id) } }
            #expect(error?.code == .missing)
        }
    }

    @Test("a part of a transfer goes at open where no replica of that life of its group is here, and stays otherwise")
    func partsAtOpen() throws {
        let files = MemoryFileSystem()
        let named = sampleID(5)
        let first = StoreUnderTest(files)
        _ = try first { try $0.open(for: RecoveredLog()) }
        _ = try first { try $0.save(sampleState(20), as: named) }
        let newer = SnapshotID(group: named.group, incarnation: named.incarnation, index: LogIndex(9), term: named.term)
        var earlierLife = newer
        earlierLife.incarnation += 1
        var otherGroup = newer
        otherGroup.group = GroupID(named.group.rawValue + 1)
        for id in [newer, earlierLife, otherGroup] {
            try files.writeWhole([1], to: id.description + SnapshotID.partSuffix, in: StoreUnderTest.directory)
        }
        let next = StoreUnderTest(files)
        _ = try next { try $0.open(for: sampleLog(naming: [named])) }
        let parts = try files.list(StoreUnderTest.directory).filter { $0.hasSuffix(SnapshotID.partSuffix) }
        #expect(parts == [newer.description + SnapshotID.partSuffix])
    }

    @Test("a snapshot that the log names and that is not there is a named error")
    func missing() throws {
        let store = StoreUnderTest(MemoryFileSystem())
        let error = #expect(throws: LogError.self) {
            _ = try store { try $0.open(for: sampleLog(naming: [sampleID(4)])) }
        }
        #expect(error?.code == .missing && error?.message.contains("1-1-4-1.snap") == true)
    }

    @Test("a crash at any change of any file leaves all of a snapshot, or nothing under its name")
    func crashAnywhere() throws {
        let (old, new) = (sampleID(1), sampleID(2))
        let state = sampleState(40)
        for unsynced in PowerLossFileSystem.Unsynced.allCases {
            var crashes = 0
            for changes in 0... {
                let files = PowerLossFileSystem()
                let first = StoreUnderTest(files)
                _ = try first { try $0.open(for: RecoveredLog()) }
                _ = try first { try $0.save([1, 2, 3], as: old) }
                files.state.withLock { $0.changesLeft = changes }
                let isSaved = (try? first { try $0.save(state, as: new) }) != nil
                files.losePower(unsynced: unsynced)
                let store = StoreUnderTest(files)
                let named = isSaved ? new : old
                #expect(
                    try store { try $0.open(for: sampleLog(naming: [named])) }
                        == [named.group: isSaved ? state : [1, 2, 3]], "\(unsynced), \(changes) changes")
                #expect(files.contents.keys.allSatisfy { !$0.hasSuffix(".tmp") })
                // What came to be complete without being acknowledged is complete.
                if let bytes = try? store({ try $0.load(new) }) { #expect(bytes == state) }
                if isSaved { break }
                crashes += 1
            }
            #expect(crashes == 10, "\(unsynced)")
        }
    }

    @Test("a snapshot for which there is no room is refused by name, leaves nothing behind, and is taken when there is")
    func fullDisk() throws {
        let files = PowerLossFileSystem()
        let store = StoreUnderTest(files)
        _ = try store { try $0.open(for: RecoveredLog()) }
        files.state.withLock { $0.capacity = 40 }
        let error = #expect(throws: LogError.self) { try store { try $0.save(sampleState(65), as: sampleID(5)) } }
        #expect(error?.code == .diskFull && error?.message.contains("make room on that disk") == true)
        #expect(files.contents.isEmpty)
        files.state.withLock { $0.capacity = nil }
        _ = try store { try $0.save(sampleState(65), as: sampleID(5)) }
        #expect(try store { try $0.load(sampleID(5)) } == sampleState(65))
    }

    @Test("every flipped byte of a snapshot is noticed: n of n", arguments: [false, true])
    func flips(_ isCompressed: Bool) throws {
        let files = PowerLossFileSystem()
        let id = sampleID(5)
        let state = [UInt8](repeating: 9, count: 130)
        let first = StoreUnderTest(files, chunkBytes: 50, isCompressed: isCompressed)
        _ = try first { try $0.open(for: RecoveredLog()) }
        _ = try first { try $0.save(state, as: id) }
        let path = "\(StoreUnderTest.directory)/\(id.fileName)"
        let whole = files.contents
        var noticed = 0
        let bytes = whole[path]!
        for offset in bytes.indices {
            var contents = whole
            contents[path]![offset] ^= UInt8(1 << (offset % 8))
            let store = StoreUnderTest(PowerLossFileSystem(contents))
            do {
                let found = try store { try $0.open(for: sampleLog(naming: [id])) }
                #expect(found == [id.group: state], "byte \(offset)")
            } catch let error as LogError {
                noticed += 1
                #expect([.damaged, .unknownVersion].contains(error.code) && error.message.contains(path))
            }
        }
        // A compressed frame has bits that mean nothing; what was not noticed changed nothing.
        #expect(noticed >= bytes.count - (isCompressed ? 3 : 0), "\(noticed) of \(bytes.count) noticed")
    }

    @Test("a snapshot's file under another name is not handed out")
    func renamed() throws {
        let files = PowerLossFileSystem()
        let first = StoreUnderTest(files)
        _ = try first { try $0.open(for: RecoveredLog()) }
        _ = try first { try $0.save([1], as: sampleID(3)) }
        try files.rename("/data/snapshots/1-1-3-1.snap", to: "/data/snapshots/1-1-2-1.snap")
        let error = #expect(throws: LogError.self) {
            _ = try StoreUnderTest(files).callAsFunction { try $0.open(for: sampleLog(naming: [sampleID(2)])) }
        }
        #expect(error?.code == .damaged)
    }
}
