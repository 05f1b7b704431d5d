import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct SnapshotPartTests {
    @Test(
        "RM-14, CE-21: chunks in any order, some of them twice, make up the state",
        arguments: SnapshotStoreTests.sizes)
    func anyOrder(_ size: Int) throws {
        let id = sampleID(8)
        let state = sampleState(size)
        for seed in Simulation.seeds(5) {
            var random = SeededGenerator(seed: seed)
            let files = MemoryFileSystem()
            let store = StoreUnderTest(files)
            _ = try store { try $0.open(for: RecoveredLog()) }
            let pieces = samplePieces(state, of: id)
            #expect(
                try store { try $0.beginFetch(id, SnapshotOffer(state)) }
                    == Array(repeating: false, count: pieces.count))
            for piece in (pieces + pieces.filter { _ in Bool.random(using: &random) }).shuffled(using: &random) {
                #expect(try store { try $0.write(ReceivedChunk(piece), of: id) }, "FLOTILLA_SEED=\(seed)")
            }
            #expect(try store { try $0.finishFetch(id) } == state, "FLOTILLA_SEED=\(seed)")
            // Complete, and for the next process as well.
            let next = StoreUnderTest(files)
            #expect(try next { try $0.open(for: sampleLog(naming: [id])) } == [id.group: state])
        }
    }

    @Test("a chunk that is damaged, or stands in a wrong place, is not taken")
    func damaged() throws {
        let id = sampleID(8)
        let state = [UInt8](repeating: 3, count: 48)
        let store = StoreUnderTest(MemoryFileSystem())
        _ = try store { try $0.open(for: RecoveredLog()) }
        _ = try store { try $0.beginFetch(id, SnapshotOffer(state)) }
        let pieces = samplePieces(state, of: id)
        for offset in pieces[0].bytes.indices {
            var piece = pieces[0]
            piece.bytes[offset] ^= 1
            let damaged = piece
            #expect(try store { try $0.write(ReceivedChunk(damaged), of: id) } == false)
        }
        // Equal bytes, another number.
        for offset: UInt64 in [1, 16, 32, 48, .max] {
            var piece = pieces[0]
            piece.offset = offset
            let moved = piece
            #expect(try store { try $0.write(ReceivedChunk(moved), of: id) } == false, "at \(offset)")
        }
        #expect(try store { try $0.write(ReceivedChunk(samplePieces(state, of: sampleID(9))[0]), of: id) } == false)
        #expect(try store { try $0.finishFetch(id) } == nil)
    }

    @Test("chunks that are each right and do not make up what was offered are thrown away")
    func wrongWhole() throws {
        let id = sampleID(8)
        let state = sampleState(40)
        let store = StoreUnderTest(MemoryFileSystem())
        _ = try store { try $0.open(for: RecoveredLog()) }
        let offer = SnapshotOffer(size: 40, checksum: 1, chunkBytes: 16)
        _ = try store { try $0.beginFetch(id, offer) }
        for piece in samplePieces(state, of: id) { _ = try store { try $0.write(ReceivedChunk(piece), of: id) } }
        #expect(try store { try $0.finishFetch(id) } == nil)
        #expect(try store { try $0.beginFetch(id, offer) } == [false, false, false])
    }

    @Test("RM-16: a fetch that a crash cuts at any change of a file goes on with what verifies, and ends whole")
    func crashAnywhere() throws {
        let id = sampleID(8)
        let state = sampleState(70)
        let pieces = samplePieces(state, of: id)
        for unsynced in PowerLossFileSystem.Unsynced.allCases {
            var resumed = 0
            for changes in 0... {
                let files = PowerLossFileSystem()
                let first = StoreUnderTest(files)
                _ = try first { try $0.open(for: RecoveredLog()) }
                files.state.withLock { $0.changesLeft = changes }
                let isDone = (try? fetch(first, id, state, pieces)) != nil
                files.losePower(unsynced: unsynced)
                let second = StoreUnderTest(files)
                _ = try second { try $0.open(for: RecoveredLog()) }
                let present = try second { try $0.beginFetch(id, SnapshotOffer(state)) }
                if present.contains(true) { resumed += 1 }
                for (piece, isHere) in zip(pieces, present) where !isHere {
                    _ = try second { try $0.write(ReceivedChunk(piece), of: id) }
                }
                #expect(try second { try $0.finishFetch(id) } == state, "\(unsynced), \(changes) changes")
                if isDone { break }
            }
            #expect(resumed > 0, "\(unsynced)")
        }
    }

    private func fetch(_ store: StoreUnderTest, _ id: SnapshotID, _ state: [UInt8], _ pieces: [SnapshotPiece]) throws {
        _ = try store { try $0.beginFetch(id, SnapshotOffer(state)) }
        for piece in pieces { _ = try store { try $0.write(ReceivedChunk(piece), of: id) } }
        #expect(try store { try $0.finishFetch(id) } == state)
    }

    @Test("a newer fetch of a group, and a snapshot that the log names, take the place of what was left of an old one")
    func replaced() throws {
        let files = PowerLossFileSystem()
        let store = StoreUnderTest(files)
        let state = sampleState(40)
        _ = try store { try $0.open(for: RecoveredLog()) }
        for id in [sampleID(8), sampleID(9), sampleID(9, group: 2)] {
            _ = try store { try $0.beginFetch(id, SnapshotOffer(state)) }
        }
        let parts = { files.contents.keys.filter { $0.hasSuffix(".part") }.sorted() }
        #expect(parts() == ["/data/snapshots/1-1-9-1.part", "/data/snapshots/2-1-9-1.part"])
        #expect(
            try store { try $0.write(ReceivedChunk(samplePieces(state, of: sampleID(8))[0]), of: sampleID(8)) } == false
        )
        _ = try store { try $0.save(state, as: sampleID(12)) }
        try store { try $0.compact(sampleID(12)) }
        #expect(parts() == ["/data/snapshots/2-1-9-1.part"])
    }
}
