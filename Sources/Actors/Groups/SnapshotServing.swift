import FlotillaIO
import FlotillaRaft

/// Who waits for chunks of this node's snapshots. One queue for all groups and followers, so that one limit holds for
/// all of them together.
struct SnapshotQueue {
    struct Item: Hashable {
        var request: SnapshotRequest
        var node: NodeID
    }

    private(set) var waiting: [Item] = []
    /// Chunks that are being read. A few, so that the disk and the network work at the same time.
    var reading = 0
    /// Nodes whose connection has enough to send for now.
    var blocked: Set<NodeID> = []
    var bucket: TokenBucket?
    var timer: TimerToken?

    /// More are dropped, as if lost.
    private static let limit = 1024
    static let readsMax = 2

    init(bytesPerSecond: Int?, now: MonotonicTime) {
        bucket = bytesPerSecond.map { TokenBucket(rate: $0, burst: max($0 / 20, 1), now: now) }
    }

    mutating func add(_ item: Item) {
        guard waiting.count < Self.limit, !waiting.contains(item) else { return }
        waiting.append(item)
    }

    mutating func putBack(_ item: Item) { waiting.insert(item, at: 0) }

    mutating func next() -> Item? {
        guard reading < Self.readsMax, let position = waiting.firstIndex(where: { !blocked.contains($0.node) }) else {
            return nil
        }
        return waiting.remove(at: position)
    }

    mutating func forget(_ node: NodeID) {
        waiting.removeAll { $0.node == node }
        blocked.remove(node)
    }

    var canStart: Bool { reading < Self.readsMax && waiting.contains { !blocked.contains($0.node) } }
}

extension GroupScheduler {
    func receive(_ request: SnapshotRequest, from node: NodeID) {
        if let group = group(request.id.group) { group.assumeIsolated { $0.didServe(node) } }
        serving.add(.init(request: request, node: node))
        serveSnapshots()
    }

    func receive(_ chunk: SnapshotChunk, from node: NodeID) {
        guard let group = group(chunk.id.group) else { return }
        group.assumeIsolated { $0.receiveChunk(chunk, from: node) }
        markDirty(group)
    }

    func bulkIsWritable(_ node: NodeID) {
        serving.blocked.remove(node)
        serveSnapshots()
    }

    func bulkDidClose(_ node: NodeID) {
        serving.forget(node)
        for group in groupsInOrder where group.assumeIsolated({ $0.bulkDidClose(node) }) { markDirty(group) }
    }

    /// Reads and sends what the limit, the disk and the connections allow.
    private func serveSnapshots() {
        while serving.canStart, serving.timer == nil {
            if let delay = serving.bucket?.delay(now: loop.now) {
                serving.timer = loop.schedule(at: loop.now.advanced(by: delay)) { [weak self] in
                    self?.assumeIsolated { scheduler in
                        scheduler.serving.timer = nil
                        scheduler.serveSnapshots()
                    }
                }
                return
            }
            guard let item = serving.next() else { return }
            let request = item.request
            // As many bytes as a chunk may have: what a last one has less is not worth an exact count.
            serving.bucket?.spend(settings.snapshotFiles.chunkBytes, now: loop.now)
            serving.reading += 1
            snapshotStore.perform(on: loop) { store throws(LogError) in
                try store.chunk(of: request.id, checksum: request.checksum, at: request.offset)
            } then: { [weak self] outcome in
                self?.assumeIsolated { $0.chunkIsRead(item, outcome) }
            }
        }
    }

    private func chunkIsRead(_ item: SnapshotQueue.Item, _ outcome: Result<SnapshotPiece, LogError>) {
        serving.reading -= 1
        var chunk = SnapshotChunk(
            id: item.request.id,
            piece: SnapshotPiece(offset: item.request.offset, bytes: [], checksum: 0, isFinal: false), isGone: true)
        switch outcome {
        case .success(let piece):
            chunk.piece = piece
            chunk.isGone = false
        case .failure(let error) where error.code == .missing: break
        case .failure(let error):
            logger.error("a snapshot cannot be read", ["reason": error.description])
        }
        if !sendBulk(.snapshotChunk(chunk), to: item.node) {
            serving.blocked.insert(item.node)
            serving.putBack(item)
        }
        serveSnapshots()
    }

    func stopServing() {
        if let timer = serving.timer { loop.cancel(timer) }
        serving.timer = nil
    }
}
