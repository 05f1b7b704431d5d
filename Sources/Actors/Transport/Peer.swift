import FlotillaIO
import FlotillaRaft

/// What the transport knows of one other node.
struct Peer {
    let node: NodeID
    /// Where it listens; empty until somebody said so.
    var address: String
    /// The consensus connection, once both sides have said hello.
    var link: LinkID?
    /// The connection that this node is trying to open.
    var dialing: LinkID?
    var bulk: BulkState = .none
    var backoff: Backoff
    var nextDial: MonotonicTime
    /// It refused this node, for a reason that will not pass in a moment.
    var refusedUntil: MonotonicTime?
    var lastHeard: MonotonicTime
    var isAlive = false
    /// Its heartbeats are rare, as it says itself.
    var isDistant = false
    /// When the last heartbeat went to it, and whether that one said that the next would come late.
    var lastBeat: (time: MonotonicTime, isDistant: Bool)?
    /// From the newest hello or heartbeat.
    var boot: UInt64 = 0
    var livenessEpoch: UInt64 = 0
    var instance: UInt64 = 0
    /// Of the newest process.
    var life: UInt64 = 0
    /// The highest that it named: it has acknowledged on the strength of it.
    var lastWrite: UInt64 = 0
    var featureLevel: UInt32 = 0

    /// Can transition to: dialing, then open; back to none when it closes.
    enum BulkState {
        case none
        case dialing(LinkID, waiting: [PeerFrameItem])
        case open(LinkID)
    }

    /// Requests that wait for a bulk connection; more are dropped, as if lost.
    static let bulkQueueLimit = 64
}

/// Numbers the connections of one transport.
struct LinkID: Hashable, Comparable, Sendable {
    let rawValue: UInt64
    static func < (a: LinkID, b: LinkID) -> Bool { a.rawValue < b.rawValue }
}

/// One connection and how far its greeting has come.
struct Link {
    enum State {
        /// Can transition to: ready, joining, refused; or it closes.
        case greeting(since: MonotonicTime)
        case ready(NodeID)
        /// A node that is no member yet asks to become one.
        case joining(since: MonotonicTime)
        /// It was told why, and closes; what it still says is not heard. (A connection that is closed at once would
        /// lose what was sent last.)
        case refused(since: MonotonicTime)
    }
    let id: LinkID
    var connection: any FrameConnection
    let isInitiator: Bool
    /// The initiator says it.
    var purpose: Hello.Purpose
    var state: State
    /// When the last whole frame arrived, or the connection was made.
    var lastFrame: MonotonicTime
    /// What the connection's delegate is kept alive by.
    let delegate: LinkDelegate
}

/// Carries a connection's events into the transport, on its loop.
final class LinkDelegate: FrameConnectionDelegate {
    let id: LinkID
    private let transport: Transport

    init(id: LinkID, transport: Transport) {
        self.id = id
        self.transport = transport
    }

    func connectionDidOpen(_ connection: any FrameConnection) {
        transport.assumeOnLoop { $0.linkDidOpen(id) }
    }

    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
        transport.assumeOnLoop { $0.link(id, didReceive: payload) }
    }

    /// Messages that found the queue full were dropped, and Raft sends again what matters; snapshots wait for this.
    func connectionIsWritable(_ connection: any FrameConnection) {
        transport.assumeOnLoop { $0.linkIsWritable(id) }
    }

    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) {
        transport.assumeOnLoop { $0.linkDidClose(id, error) }
    }
}
