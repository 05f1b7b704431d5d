import FlotillaIO
import FlotillaRaft

/// What one frame between two nodes holds, decoded: `flotilla.v1.PeerFrame` in Protos/peer.proto.
enum PeerFrameItem: Sendable {
    case hello(Hello)
    case refusal(Refusal)
    case heartbeat(NodeHeartbeat)
    case message(RoutedMessage)
    case unknownGroup(UnknownGroup)
    case joinRequest(JoinRequest)
    case joinResponse(JoinResponse)
    case snapshotRequest(SnapshotRequest)
    case snapshotChunk(SnapshotChunk)
    case companionRequest(CompanionRequest)
    case companionAnswer(CompanionAnswer)
    case request(NodeRequest)
    case answer(NodeAnswer)
}

/// The first thing that both ends of a connection say.
struct Hello: Hashable, Sendable {
    enum Purpose: UInt32, Sendable {
        /// Heartbeats and the messages of all groups: one such connection per pair of nodes.
        case consensus = 0
        /// Snapshots and messages with large entries, so that they never delay consensus.
        case bulk = 1
        /// A node that is no member yet asks to become one.
        case join = 2
    }

    /// The versions of this protocol that the sender speaks.
    var protocolMin: UInt32 = Hello.currentProtocol
    var protocolMax: UInt32 = Hello.currentProtocol
    /// Zero: not a member of a cluster yet.
    var cluster: UInt64
    var node: NodeID
    var instance: UInt64
    var boot: UInt64
    /// The highest feature level that the sender's binary understands.
    var featureLevel: UInt32
    /// Where the sender takes connections.
    var address: String
    var purpose: Purpose
    /// What the node can run: "type/version".
    var capabilities: [String]
    /// Drawn at random at each start: tells two processes of one boot apart, of which one runs on a copy.
    var life: UInt64 = 0
    /// `LogStore.lastWrite` when the sender started: what it writes later must not hide what it lacked.
    var lastWrite: UInt64 = 0

    static let currentProtocol: UInt32 = 1
}

/// Why the sender closes the connection.
struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
    enum Code: UInt32, Sendable {
        case other = 0
        case wrongCluster = 1
        case duplicateNode = 2
        case protocolMismatch = 3
        case featureLevel = 4
        case notReady = 5
        case replaced = 6
        case olderBoot = 7
        case notMember = 8

        /// Whether an operator should hear of it; the others are part of finding each other.
        var isWorthALine: Bool {
            switch self {
            case .notReady, .replaced: false
            case .other, .wrongCluster, .duplicateNode, .protocolMismatch, .featureLevel, .olderBoot, .notMember: true
            }
        }
    }
    var code: Code
    var message: String
    var description: String { message }
}

/// Sent once per interval between each pair of nodes: nodes watch each other, groups do not.
struct NodeHeartbeat: Hashable, Sendable {
    var boot: UInt64
    /// Rises whenever the sender may have been silent without knowing it. Whoever trusts a quiet leader trusts it in
    /// one epoch only.
    var livenessEpoch: UInt64
    /// See `LogStore.lastWrite`.
    var lastWrite: UInt64 = 0
    /// The next one comes late, since the two nodes share no group whose members watch each other.
    var isDistant = false
}

/// A Raft message and the replica life that it is meant for.
struct RoutedMessage: Sendable {
    var group: GroupID
    var incarnation: UInt64
    var kind: GroupKind
    var message: Message
    /// With a snapshot message: what the follower is to fetch.
    var snapshot: SnapshotOffer?
}

/// What a follower needs to fetch a snapshot, or the snapshot itself where it is small.
struct SnapshotOffer: Hashable, Sendable {
    /// Of the state, in bytes.
    var size: UInt64
    /// Of the state.
    var checksum: UInt32
    var chunkBytes: Int
    /// The state, where it is embedded.
    var bytes: [UInt8]?
}

/// The receiver hosts no such replica.
struct UnknownGroup: Hashable, Sendable {
    var group: GroupID
    var incarnation: UInt64
    var replica: ReplicaID
}

struct JoinRequest: Hashable, Sendable {
    var node: NodeID
    var instance: UInt64
    var address: String
    var httpAddress: String
    var featureLevel: UInt32
}

struct JoinResponse: Hashable, Sendable {
    var cluster: UInt64
    /// Nil: the node is a member now.
    var refusal: Refusal?
}

/// Asks for one chunk of a snapshot.
struct SnapshotRequest: Hashable, Sendable {
    var id: SnapshotID
    /// Of the state that is wanted: one of another history is not the same snapshot.
    var checksum: UInt32
    var offset: UInt64
    /// How large the pieces are to be that it comes in; the last one is smaller.
    var pieceBytes: Int

    /// A sender sends no smaller pieces, whatever it is asked for.
    static let pieceBytesMin = 64
}

/// A piece of a chunk that was asked for.
struct SnapshotChunk: Hashable, Sendable {
    var id: SnapshotID
    var piece: SnapshotPiece
    /// The sender does not have that snapshot, or no longer.
    var isGone: Bool
}

/// Asks for what a state machine keeps beside the state of a snapshot.
struct CompanionRequest: Hashable, Sendable {
    var id: SnapshotID
    /// Tells the answer to this question from those to earlier ones.
    var number: UInt32
    /// The state machine's own.
    var question: [UInt8]
}

struct CompanionAnswer: Hashable, Sendable {
    var id: SnapshotID
    /// As in the request.
    var number: UInt32
    /// The state machine's own.
    var body: [UInt8]
    /// The sender cannot answer: it has not applied so much itself.
    var isGone: Bool
}
