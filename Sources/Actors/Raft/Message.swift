/// What replicas of one group say to each other.
public struct Message: Hashable, Sendable {
    public var from: ReplicaID
    public var to: ReplicaID
    public var term: Term
    public var body: Body

    public init(from: ReplicaID, to: ReplicaID, term: Term, body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    public enum Body: Hashable, Sendable {
        case preVote(VoteRequest)
        case preVoteResponse(granted: Bool)
        case vote(VoteRequest)
        case voteResponse(granted: Bool)
        case append(Append)
        case appendResponse(AppendResponse)
        case heartbeat(Heartbeat)
        case heartbeatResponse(HeartbeatResponse)
        /// Announces a snapshot. The shell hands this to the core only once it holds the bytes.
        case snapshot(SnapshotMetadata)
        /// A follower passes proposals on to the leader. Indexes and terms of the entries are not set yet.
        case forwardedProposal([Entry])
        case readIndex(ReadRequest)
        case readIndexResponse(ReadState)
        /// Leadership transfer: the receiver campaigns at once, without a pre-vote (thesis 3.10).
        case timeoutNow
        case forwardedTransfer(to: ReplicaID)
        /// The leader has nothing to do: a follower that agrees stops its election timer.
        case quiesce(Quiesce)
    }

    public struct VoteRequest: Hashable, Sendable {
        public var lastIndex: LogIndex
        public var lastTerm: Term
        /// Set by a leadership transfer: the receiver answers even though it heard from a leader just now.
        public var isTransfer: Bool
        public init(lastIndex: LogIndex, lastTerm: Term, isTransfer: Bool) {
            self.lastIndex = lastIndex
            self.lastTerm = lastTerm
            self.isTransfer = isTransfer
        }
    }

    public struct Append: Hashable, Sendable {
        public var previousIndex: LogIndex
        public var previousTerm: Term
        public var commit: LogIndex
        public var entries: [Entry]
        /// It only tells the commit index, to a member that answers the entries which it was sent before: an answer would
        /// say nothing, unless it is a refusal.
        public var isNotice: Bool
        public init(
            previousIndex: LogIndex, previousTerm: Term, commit: LogIndex, entries: [Entry], isNotice: Bool = false
        ) {
            self.previousIndex = previousIndex
            self.previousTerm = previousTerm
            self.commit = commit
            self.entries = entries
            self.isNotice = isNotice
        }
    }

    public struct AppendResponse: Hashable, Sendable {
        /// Accepted: the last index that is durable here and known to match. Rejected: the append's previous index.
        public var index: LogIndex
        public var isRejected: Bool
        /// Rejected: where the logs may agree at best, and the term that stands there (etcd's hint).
        public var hintIndex: LogIndex
        public var hintTerm: Term
        /// The follower lost an ambiguous tail and does not count until it has passed it.
        public var isRecovering: Bool
        public init(
            index: LogIndex, isRejected: Bool = false, hintIndex: LogIndex = .zero,
            hintTerm: Term = .zero, isRecovering: Bool = false
        ) {
            self.index = index
            self.isRejected = isRejected
            self.hintIndex = hintIndex
            self.hintTerm = hintTerm
            self.isRecovering = isRecovering
        }
    }

    public struct Heartbeat: Hashable, Sendable {
        public var commit: LogIndex
        /// The newest read round that this heartbeat confirms; zero for none.
        public var readRound: UInt64
        public init(commit: LogIndex, readRound: UInt64) {
            self.commit = commit
            self.readRound = readRound
        }
    }

    public struct HeartbeatResponse: Hashable, Sendable {
        public var readRound: UInt64
        public init(readRound: UInt64) { self.readRound = readRound }
    }

    public struct ReadRequest: Hashable, Sendable {
        /// Chosen by the asking shell; comes back in the `ReadState`.
        public var context: UInt64
        public init(context: UInt64) { self.context = context }
    }

    public struct Quiesce: Hashable, Sendable {
        public var commit: LogIndex
        /// The liveness epoch of the leader's node; the shell compares it with its own view before it passes this on.
        public var livenessEpoch: UInt64
        public init(commit: LogIndex, livenessEpoch: UInt64) {
            self.commit = commit
            self.livenessEpoch = livenessEpoch
        }
    }
}

/// From `index` on, a read that asked with `context` is linearizable.
public struct ReadState: Hashable, Sendable {
    public var context: UInt64
    public var index: LogIndex
    public init(context: UInt64, index: LogIndex) {
        self.context = context
        self.index = index
    }
}
