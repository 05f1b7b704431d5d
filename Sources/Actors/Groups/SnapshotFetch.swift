import FlotillaIO
import FlotillaRaft

/// A snapshot on its way to this replica: which chunks are here, which were asked for, and of whom. A value that knows
/// neither disk nor network: they may lose, repeat, reorder and damage what they like.
struct SnapshotFetch {
    enum Phase: Hashable {
        /// The store looks up what an earlier attempt has left. Can transition to: fetching; finishing, where the
        /// state came with its announcement.
        case preparing
        /// Can transition to: finishing.
        case fetching
        /// Everything is here and is being made durable.
        case finishing
    }

    private enum Chunk: Hashable {
        case missing
        case requested(NodeID)
        /// Has arrived and is being written.
        case writing(NodeID)
        case here
    }

    private struct Source {
        var node: NodeID
        var outstanding = 0
        /// When it last sent a chunk, or was asked while it owed none.
        var lastSign: MonotonicTime
        var hasFailed = false
    }

    let id: SnapshotID
    let offer: SnapshotOffer
    /// What announced it, the newest time; the core is given this when the bytes are here.
    var message: Message
    private(set) var phase = Phase.preparing
    private var chunks: [Chunk] = []
    /// What has arrived of chunks that are not complete; an empty piece is still missing.
    private var arriving: [Int: [[UInt8]]] = [:]
    private let pieceBytes: Int
    private var inFlight = 0
    private var missing = 0
    private var sources: [Source]
    private(set) var lastProgress: MonotonicTime
    /// Since when no source is left.
    private var exhaustedSince: MonotonicTime?

    /// Chunks that are asked for at a time, of all sources together.
    static let window = 4
    /// A source that owes a chunk and sends none for this long has failed.
    static let sourceTimeout: Duration = .seconds(5)
    /// Once all sources have failed they are tried again after so long.
    static let retryInterval: Duration = .seconds(1)

    /// - Parameter sources: whom to ask, the best first.
    init(
        id: SnapshotID, offer: SnapshotOffer, pieceBytes: Int, message: Message, sources: [NodeID], now: MonotonicTime
    ) {
        self.id = id
        self.offer = offer
        self.pieceBytes = max(pieceBytes, SnapshotRequest.pieceBytesMin)
        self.message = message
        self.sources = sources.map { Source(node: $0, lastSign: now) }
        lastProgress = now
    }

    /// Every chunk is written.
    var isComplete: Bool { phase == .fetching && missing == 0 && inFlight == 0 }

    mutating func prepared(present: [Bool], now: MonotonicTime) {
        precondition(phase == .preparing, "prepared while \(phase)")
        phase = .fetching
        chunks = present.map { $0 ? .here : .missing }
        missing = present.count { !$0 }
        lastProgress = now
    }

    mutating func finish() {
        precondition(isComplete, "finished with \(missing) chunks missing and \(inFlight) on their way")
        phase = .finishing
    }

    mutating func finishEmbedded() {
        precondition(phase == .preparing && offer.bytes != nil, "there is nothing to take yet")
        phase = .finishing
    }

    /// It was announced again, perhaps by another leader.
    mutating func announcedAgain(_ message: Message, by node: NodeID, now: MonotonicTime) {
        self.message = message
        if let known = sources.firstIndex(where: { $0.node == node }) {
            sources[known].hasFailed = false
        } else {
            sources.append(Source(node: node, lastSign: now))
        }
    }

    /// What to ask for now, and whom: whoever owes least.
    mutating func takeRequests(now: MonotonicTime) -> [(NodeID, SnapshotRequest)] {
        var requests: [(NodeID, SnapshotRequest)] = []
        guard phase == .fetching, missing > 0 else { return requests }
        for number in chunks.indices where chunks[number] == .missing {
            guard inFlight < Self.window,
                let source = sources.indices.filter({ !sources[$0].hasFailed })
                    .min(by: { sources[$0].outstanding < sources[$1].outstanding })
            else { break }
            if sources[source].outstanding == 0 { sources[source].lastSign = now }
            sources[source].outstanding += 1
            chunks[number] = .requested(sources[source].node)
            missing -= 1
            inFlight += 1
            let offset = mutated(.rewindsTransfer) ? 0 : UInt64(number) * UInt64(offer.chunkBytes)
            requests.append(
                (
                    sources[source].node,
                    SnapshotRequest(id: id, checksum: offer.checksum, offset: offset, pieceBytes: pieceBytes)
                ))
        }
        return requests
    }

    /// A piece has arrived. One that was not asked for, or is here already, is not taken.
    /// - Returns: the chunk that is complete now and is to be written.
    mutating func receive(_ piece: SnapshotPiece, from node: NodeID, now: MonotonicTime) -> ReceivedChunk? {
        let start = piece.offset - piece.offset % UInt64(offer.chunkBytes)
        guard let number = number(of: start), case .requested(let asked) = chunks[number] else { return nil }
        let size = min(offer.chunkBytes, Int(offer.size - start))
        let place = Int(piece.offset - start)
        guard place.isMultiple(of: pieceBytes), place < size, piece.bytes.count == min(pieceBytes, size - place) else {
            return nil
        }
        // Taken out, so that what has arrived is not copied.
        var pieces =
            arriving.removeValue(forKey: number)
            ?? Array(repeating: [], count: (size + pieceBytes - 1) / pieceBytes)
        if pieces[place / pieceBytes].isEmpty {
            pieces[place / pieceBytes] = piece.bytes
            if let source = sources.firstIndex(where: { $0.node == node }) { sources[source].lastSign = now }
            lastProgress = now
        }
        guard pieces.allSatisfy({ !$0.isEmpty }) else {
            arriving[number] = pieces
            return nil
        }
        settle(asked)
        chunks[number] = .writing(node)
        return ReceivedChunk(offset: start, pieces: pieces, checksum: piece.checksum)
    }

    /// - Parameter isValid: false if the chunk was not what it should be.
    mutating func written(offset: UInt64, isValid: Bool) {
        guard let number = number(of: offset), case .writing(let node) = chunks[number] else { return }
        inFlight -= 1
        chunks[number] = isValid ? .here : .missing
        guard !isValid else { return }
        missing += 1
        fail(node)
    }

    /// A source does not have the snapshot, or went away: what it owes is asked of others.
    mutating func fail(_ node: NodeID) {
        guard let source = sources.firstIndex(where: { $0.node == node }) else { return }
        sources[source].hasFailed = true
        sources[source].outstanding = 0
        for number in chunks.indices where chunks[number] == .requested(node) {
            chunks[number] = .missing
            missing += 1
            inFlight -= 1
        }
    }

    /// Gives up on sources that are silent, and goes back to them when none is left.
    mutating func expire(now: MonotonicTime) {
        for source in sources
        where source.outstanding > 0 && source.lastSign.advanced(by: Self.sourceTimeout) <= now {
            fail(source.node)
        }
        guard sources.allSatisfy(\.hasFailed) else {
            exhaustedSince = nil
            return
        }
        let since = exhaustedSince ?? now
        exhaustedSince = since
        guard since.advanced(by: Self.retryInterval) <= now else { return }
        for source in sources.indices { sources[source].hasFailed = false }
        exhaustedSince = nil
    }

    private mutating func settle(_ node: NodeID) {
        guard let source = sources.firstIndex(where: { $0.node == node }), sources[source].outstanding > 0 else {
            return
        }
        sources[source].outstanding -= 1
    }

    private func number(of offset: UInt64) -> Int? {
        guard phase == .fetching, offset.isMultiple(of: UInt64(offer.chunkBytes)) else { return nil }
        let number = Int(clamping: offset / UInt64(offer.chunkBytes))
        return chunks.indices.contains(number) ? number : nil
    }
}
