import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct SnapshotFetchTests {
    private static let id = sampleID(8)
    private static let (a, b, c) = (NodeID(1), NodeID(2), NodeID(3))

    private static func time(_ milliseconds: Int) -> MonotonicTime {
        MonotonicTime(nanoseconds: UInt64(milliseconds) * 1_000_000)
    }

    private static func fetch(_ chunks: Int, from sources: [NodeID]) -> SnapshotFetch {
        let metadata = SnapshotMetadata(index: id.index, term: id.term, configuration: Configuration())
        let message = Message(from: ReplicaID(1), to: ReplicaID(2), term: Term(1), body: .snapshot(metadata))
        var fetch = SnapshotFetch(
            id: id, offer: SnapshotOffer(sampleState(chunks * 16)), pieceBytes: 64, message: message, sources: sources,
            now: time(0))
        fetch.prepared(present: Array(repeating: false, count: chunks), now: time(0))
        return fetch
    }

    private static func piece(_ offset: UInt64) -> SnapshotPiece {
        SnapshotPiece(offset: offset, bytes: Array(repeating: 1, count: 16), checksum: 0, isFinal: false)
    }

    private static func arrives(
        at offset: UInt64, from node: NodeID, _ milliseconds: Int, _ fetch: inout SnapshotFetch
    ) -> Bool {
        fetch.receive(piece(offset), from: node, now: time(milliseconds)) != nil
    }

    @Test("a window of chunks is asked for at once, spread over all who may have the snapshot")
    func window() {
        var fetch = Self.fetch(10, from: [Self.a, Self.b])
        let requests = fetch.takeRequests(now: Self.time(0))
        #expect(requests.map(\.1.offset) == [0, 16, 32, 48])
        #expect(requests.map(\.0) == [Self.a, Self.b, Self.a, Self.b])
        #expect(fetch.takeRequests(now: Self.time(0)).isEmpty)
        #expect(Self.arrives(at: 16, from: Self.b, 1, &fetch))
        // Not before it is written: the window bounds what waits for the disk as well.
        #expect(fetch.takeRequests(now: Self.time(1)).isEmpty)
        fetch.written(offset: 16, isValid: true)
        #expect(fetch.takeRequests(now: Self.time(1)).map(\.1.offset) == [64])
    }

    @Test("what an earlier attempt has left is not asked for again")
    func resumes() {
        let whole = Self.fetch(6, from: [Self.a])
        var fetch = SnapshotFetch(
            id: whole.id, offer: whole.offer, pieceBytes: 64, message: whole.message, sources: [Self.a],
            now: Self.time(0))
        #expect(fetch.takeRequests(now: Self.time(0)).isEmpty)
        fetch.prepared(present: [true, true, false, true, false, true], now: Self.time(0))
        #expect(fetch.takeRequests(now: Self.time(0)).map(\.1.offset) == [32, 64])
    }

    @Test("a source that does not have it, sent damage or fell silent is replaced by another")
    func fallsBack() {
        var fetch = Self.fetch(2, from: [Self.a, Self.b, Self.c])
        #expect(fetch.takeRequests(now: Self.time(0)).map(\.0) == [Self.a, Self.b])
        fetch.fail(Self.a)
        #expect(fetch.takeRequests(now: Self.time(0)).map(\.0) == [Self.c])
        #expect(Self.arrives(at: 16, from: Self.b, 10, &fetch))
        fetch.written(offset: 16, isValid: false)
        #expect(fetch.takeRequests(now: Self.time(10)).map(\.0) == [Self.c])
        fetch.expire(now: Self.time(4_999))
        #expect(fetch.takeRequests(now: Self.time(4_999)).isEmpty)
        fetch.expire(now: Self.time(5_000))
        #expect(fetch.takeRequests(now: Self.time(5_000)).isEmpty, "nobody is left")
        fetch.expire(now: Self.time(6_000))
        #expect(fetch.takeRequests(now: Self.time(6_000)).map(\.1.offset) == [0, 16], "all are tried again")
    }

    @Test("a chunk counts once, whoever sends it however often, and only if it was asked for")
    func duplicates() {
        var fetch = Self.fetch(6, from: [Self.a, Self.b])
        _ = fetch.takeRequests(now: Self.time(0))
        #expect(!Self.arrives(at: 80, from: Self.a, 0, &fetch), "nobody asked for it yet")
        #expect(!Self.arrives(at: 5, from: Self.a, 0, &fetch))
        #expect(!Self.arrives(at: 960, from: Self.a, 0, &fetch))
        #expect(Self.arrives(at: 0, from: Self.b, 0, &fetch))
        #expect(!Self.arrives(at: 0, from: Self.a, 0, &fetch))
        fetch.written(offset: 0, isValid: true)
        fetch.written(offset: 0, isValid: false)
        #expect(!Self.arrives(at: 0, from: Self.a, 0, &fetch))
    }

    /// A state of 300 bytes in chunks of 200, each of which travels in pieces of 64.
    private static func piecewise(_ state: [UInt8], from sources: [NodeID]) -> SnapshotFetch {
        let metadata = SnapshotMetadata(index: id.index, term: id.term, configuration: Configuration())
        let message = Message(from: ReplicaID(1), to: ReplicaID(2), term: Term(1), body: .snapshot(metadata))
        var fetch = SnapshotFetch(
            id: id, offer: SnapshotOffer(state, chunkBytes: 200), pieceBytes: 64, message: message, sources: sources,
            now: time(0))
        fetch.prepared(present: [false, false], now: time(0))
        return fetch
    }

    @Test("RM-14: pieces of a chunk in any order, some of them twice, make up the chunk")
    func pieces() {
        let state = sampleState(300)
        for seed in Simulation.seeds(20) {
            var random = SeededGenerator(seed: seed)
            var fetch = Self.piecewise(state, from: [Self.a, Self.b])
            #expect(fetch.takeRequests(now: Self.time(0)).map(\.1.pieceBytes) == [64, 64])
            var pieces: [SnapshotPiece] = []
            for range in [0..<64, 64..<128, 128..<192, 192..<200, 200..<264, 264..<300] {
                pieces.append(
                    SnapshotPiece(
                        offset: UInt64(range.lowerBound), bytes: Array(state[range]), checksum: 7,
                        isFinal: range.upperBound == 300))
            }
            var chunks: [ReceivedChunk] = []
            for piece in (pieces + pieces).shuffled(using: &random) {
                if let chunk = fetch.receive(piece, from: Self.a, now: Self.time(1)) { chunks.append(chunk) }
            }
            chunks.sort { $0.offset < $1.offset }
            #expect(chunks.map(\.offset) == [0, 200], "FLOTILLA_SEED=\(seed)")
            #expect(chunks.flatMap(\.pieces).flatMap { $0 } == state, "FLOTILLA_SEED=\(seed)")
        }
    }

    @Test("what had arrived of a chunk when its source failed is not waited for again, and no other size of piece fits")
    func piecesOfTwoSources() {
        let state = sampleState(300)
        var fetch = Self.piecewise(state, from: [Self.a, Self.b])
        _ = fetch.takeRequests(now: Self.time(0))
        func arrives(_ range: Range<Int>, _ node: NodeID) -> ReceivedChunk? {
            let piece = SnapshotPiece(
                offset: UInt64(range.lowerBound), bytes: Array(state[range]), checksum: 7, isFinal: false)
            return fetch.receive(piece, from: node, now: Self.time(1))
        }
        #expect(arrives(0..<64, Self.a) == nil && arrives(128..<192, Self.a) == nil)
        fetch.fail(Self.a)
        #expect(arrives(64..<128, Self.a) == nil, "nobody is asked for it now")
        #expect(fetch.takeRequests(now: Self.time(1)).map(\.0) == [Self.b])
        for range in [64..<130, 64..<127, 65..<129, 192..<210, 192..<256] { #expect(arrives(range, Self.b) == nil) }
        #expect(arrives(64..<128, Self.b) == nil)
        #expect(arrives(192..<200, Self.b)?.pieces.flatMap { $0 } == Array(state[..<200]))
    }

    @Test("RM-14, CE-21: lost, repeated, reordered and damaged chunks delay a fetch and do not end it")
    func randomFaults() {
        for seed in Simulation.seeds(200) {
            var random = SeededGenerator(seed: seed)
            let chunks = Int.random(in: 0...20, using: &random)
            var fetch = Self.fetch(chunks, from: [Self.a, Self.b, Self.c])
            var now = 0
            var underWay: [(NodeID, UInt64)] = []
            var valid: Set<UInt64> = []
            while !fetch.isComplete {
                now += 100
                guard now < 1_000_000 else {
                    Issue.record("FLOTILLA_SEED=\(seed): \(valid.count) of \(chunks) after \(now) ms")
                    return
                }
                underWay += fetch.takeRequests(now: Self.time(now)).map { ($0.0, $0.1.offset) }
                underWay.shuffle(using: &random)
                if let (node, offset) = underWay.popLast() {
                    switch Int.random(in: 0..<10, using: &random) {
                    case 0: break
                    case 1: fetch.fail(node)
                    case 2: underWay.append((node, offset))
                    default:
                        guard fetch.receive(Self.piece(offset), from: node, now: Self.time(now)) != nil else { break }
                        let isValid = Int.random(in: 0..<10, using: &random) > 0
                        if isValid { #expect(valid.insert(offset).inserted, "FLOTILLA_SEED=\(seed)") }
                        fetch.written(offset: offset, isValid: isValid)
                    }
                }
                fetch.expire(now: Self.time(now))
            }
            #expect(valid.count == chunks, "FLOTILLA_SEED=\(seed)")
        }
    }
}
