import FlotillaIO
import FlotillaRaft

/// Who waits for chunks of this node's snapshots. One queue for all groups and followers, so that one limit holds for
/// all of them together.
struct SnapshotQueue {
    struct Item: Hashable {
        var request: SnapshotRequest
        var node: NodeID
    }

    /// A chunk that was read, and what of it is still to be sent.
    private struct Chunk {
        var item: Item
        var pieces: ArraySlice<SnapshotPiece>
    }

    private var waiting: [Item] = []
    private var chunks: [Chunk] = []
    /// Chunks that are being read. A few, so that the disk and the network work at the same time.
    private var reading: Set<Item> = []
    /// Nodes whose connection has enough to send for now.
    var blocked: Set<NodeID> = []
    var bucket: TokenBucket?
    var timer: TimerToken?
    /// The loop is to come back when it has looked at its sockets.
    var isTurnScheduled = false

    /// More are dropped, as if lost.
    private static let limit = 1024
    private static let readsMax = 2
    /// Pieces that are sent before the loop turns to others.
    static let piecesPerTurn = 4
    /// How much of the limit may go at once. Short: what leaves in a burst is what commits have to wait for.
    private static let burst: Duration = .milliseconds(4)

    init(bytesPerSecond: Int?, now: MonotonicTime) {
        bucket = bytesPerSecond.map { rate in
            TokenBucket(rate: rate, burst: max(Int(Double(rate) * (Self.burst / .seconds(1))), 1), now: now)
        }
    }

    mutating func add(_ item: Item) {
        guard waiting.count < Self.limit, !waiting.contains(item), !reading.contains(item),
            !chunks.contains(where: { $0.item == item })
        else { return }
        waiting.append(item)
    }

    /// The next chunk to read, if there is room for it.
    mutating func startRead() -> Item? {
        guard reading.count + chunks.count(where: { !blocked.contains($0.item.node) }) < Self.readsMax,
            let position = waiting.firstIndex(where: { !blocked.contains($0.node) })
        else { return nil }
        let item = waiting.remove(at: position)
        reading.insert(item)
        return item
    }

    /// - Returns: whether it is still wanted.
    mutating func didRead(_ item: Item) -> Bool { reading.remove(item) != nil }

    mutating func append(_ pieces: [SnapshotPiece], for item: Item) {
        chunks.append(Chunk(item: item, pieces: pieces[...]))
    }

    /// What to send next.
    var nextPiece: (item: Item, piece: SnapshotPiece)? {
        for chunk in chunks where !blocked.contains(chunk.item.node) {
            if let piece = chunk.pieces.first { return (chunk.item, piece) }
        }
        return nil
    }

    mutating func didSend(_ piece: SnapshotPiece, of item: Item, now: MonotonicTime) {
        guard let position = chunks.firstIndex(where: { $0.item == item }) else { return }
        chunks[position].pieces.removeFirst()
        if chunks[position].pieces.isEmpty { chunks.remove(at: position) }
        bucket?.spend(piece.bytes.count, now: now)
    }

    mutating func forget(_ node: NodeID) {
        waiting.removeAll { $0.node == node }
        chunks.removeAll { $0.item.node == node }
        reading = reading.filter { $0.node != node }
        blocked.remove(node)
    }
}

extension GroupScheduler {
    func receive(_ request: SnapshotRequest, from node: NodeID) {
        if let group = group(request.id.group) { group.assumeOnLoop { $0.didServe(node) } }
        serving.add(.init(request: request, node: node))
        serveSnapshots()
    }

    func receive(_ chunk: SnapshotChunk, from node: NodeID) {
        guard let group = group(chunk.id.group) else { return }
        group.assumeOnLoop { $0.receiveChunk(chunk, from: node) }
        markDirty(group)
    }

    func bulkIsWritable(_ node: NodeID) {
        serving.blocked.remove(node)
        serveSnapshots()
    }

    func bulkDidClose(_ node: NodeID) {
        serving.forget(node)
        for group in groupsInOrder where group.assumeOnLoop({ $0.bulkDidClose(node) }) { markDirty(group) }
    }

    /// Reads and sends what the limit, the disk and the connections allow.
    private func serveSnapshots() {
        while let item = serving.startRead() { read(item) }
        guard serving.timer == nil, !serving.isTurnScheduled else { return }
        var sent = 0
        while let (item, piece) = serving.nextPiece {
            if let delay = serving.bucket?.delay(now: loop.now) {
                serving.timer = loop.schedule(at: loop.now.advanced(by: delay)) { [weak self] in
                    self?.assumeOnLoop { scheduler in
                        scheduler.serving.timer = nil
                        scheduler.serveSnapshots()
                    }
                }
                return
            }
            guard sent < SnapshotQueue.piecesPerTurn else {
                serving.isTurnScheduled = true
                return loop.execute { [weak self] in
                    self?.assumeOnLoop { scheduler in
                        scheduler.serving.isTurnScheduled = false
                        scheduler.serveSnapshots()
                    }
                }
            }
            if sendBulk(.snapshotChunk(SnapshotChunk(id: item.request.id, piece: piece, isGone: false)), to: item.node)
            {
                serving.didSend(piece, of: item, now: loop.now)
                sent += 1
            } else {
                serving.blocked.insert(item.node)
            }
            while let item = serving.startRead() { read(item) }
        }
    }

    private func read(_ item: SnapshotQueue.Item) {
        let request = item.request
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try store.pieces(for: request)
        } then: { [weak self] outcome in
            self?.assumeOnLoop { $0.chunkIsRead(item, outcome) }
        }
    }

    private func chunkIsRead(_ item: SnapshotQueue.Item, _ outcome: Result<[SnapshotPiece], LogError>) {
        let isWanted = serving.didRead(item)
        switch outcome {
        case .success(let pieces): if isWanted { serving.append(pieces, for: item) }
        case .failure(let error):
            if error.code != .missing {
                logger.error("a snapshot cannot be read", ["reason": error.description])
            }
            let nothing = SnapshotPiece(offset: item.request.offset, bytes: [], checksum: 0, isFinal: false)
            // Lost where the connection is full: the follower gives up a source that owes it a chunk.
            _ = sendBulk(
                .snapshotChunk(SnapshotChunk(id: item.request.id, piece: nothing, isGone: true)), to: item.node)
        }
        serveSnapshots()
    }

    func stopServing() {
        if let timer = serving.timer { loop.cancel(timer) }
        serving.timer = nil
    }
}
