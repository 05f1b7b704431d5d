// Linearizable reads without a log entry: read index (thesis 6.4). Requests are gathered into rounds; a round notes
// the commit index, and a heartbeat that a quorum answers proves that nobody else led at that moment.

/// The reads that wait, on a leader and on a follower.
struct ReadQueue: Sendable {
    struct Request: Sendable {
        var from: ReplicaID
        var context: UInt64
    }

    struct Round: Sendable {
        var number: UInt64
        var index: LogIndex
        var requests: [Request]
    }

    struct Forwarded: Sendable {
        var context: UInt64
        /// Ticks until it is given up: the request or its answer may have been lost.
        var ticksLeft: Int
    }

    /// Rounds that may be under way at once; later reads wait and share the next round.
    static let roundsMax = 4
    /// Reads that may wait on a leader; above it, own ones fail at once and those of others are dropped.
    static let requestsMax = 65_536
    /// Reads that a follower may have passed on without an answer; above it they fail at once.
    static let forwardedMax = 65_536

    /// Not in a round yet.
    var waiting: [Request] = []
    var rounds: [Round] = []
    /// The newest round of this reign; numbers are never used twice in a term, so that a late answer to a round can
    /// never confirm another.
    var startedRound: UInt64 = 0
    var requestCount = 0
    var forwarded: [Forwarded] = []

    /// Rounds that may still start a lease, oldest first: their numbers, and the leader's tick at which each left.
    var beats: [Beat] = []
    /// The leader's tick at which the newest round left that a quorum answered.
    var leaseStart: UInt64?
    /// Somebody was told to campaign without regard to leases, and may do so at any time.
    var isLeaseForfeited = false

    struct Beat: Sendable {
        var round: UInt64
        var tick: UInt64
    }

    /// Gives the memory of lists that are empty back.
    mutating func shrink() {
        if waiting.isEmpty { waiting = [] }
        if rounds.isEmpty { rounds = [] }
        if forwarded.isEmpty { forwarded = [] }
        if beats.isEmpty { beats = [] }
    }

    var isEmpty: Bool { requestCount == 0 && forwarded.isEmpty }
    var hasForwarded: Bool { !forwarded.isEmpty }
}

extension Raft {
    /// Asks from which index on a read is linearizable. The answer is a `ReadState` with the same context, or the
    /// context among `failedReads`: no leader, leadership lost, an answer that did not come within an election
    /// timeout, or too many reads waiting.
    public mutating func readIndex(context: UInt64) {
        if isFenced {
            outbox.failedReads.append(context)
            return
        }
        wake()
        if role == .leader {
            enqueueRead(ReadQueue.Request(from: id, context: context))
        } else if let leader, reads.forwarded.count < ReadQueue.forwardedMax {
            reads.forwarded.append(.init(context: context, ticksLeft: options.electionTicks))
            send(.readIndex(Message.ReadRequest(context: context)), to: leader)
        } else {
            outbox.failedReads.append(context)
        }
        checkInvariants()
    }

    // MARK: Leader

    mutating func handle(_ request: Message.ReadRequest, from replica: ReplicaID) {
        if role == .leader {
            enqueueRead(ReadQueue.Request(from: replica, context: request.context))
        }
    }

    private mutating func enqueueRead(_ request: ReadQueue.Request) {
        if hasLease && hasCommittedInTerm {
            answer(request, at: log.commit)
            return
        }
        if reads.requestCount >= ReadQueue.requestsMax {
            if request.from == id { outbox.failedReads.append(request.context) }
            return
        }
        reads.requestCount += 1
        reads.waiting.append(request)
    }

    /// Before an entry of its own term is committed, a leader does not know how far its predecessors committed.
    var canStartReadRound: Bool {
        role == .leader && !reads.waiting.isEmpty && reads.rounds.count < ReadQueue.roundsMax
            && (hasCommittedInTerm || mutated(.readsBeforeOwnCommit))
    }

    mutating func startReadRoundIfDue() {
        if !canStartReadRound { return }
        if options.reads == .quorum { reads.startedRound += 1 } else { openLeaseRound() }
        var round = ReadQueue.Round(number: reads.startedRound, index: log.commit, requests: [])
        swap(&round.requests, &reads.waiting)
        reads.rounds.append(round)
        broadcastHeartbeat()
        confirmReads()
    }

    /// Answers the rounds that a quorum has confirmed.
    mutating func confirmReads() {
        if reads.rounds.isEmpty && reads.beats.isEmpty { return }
        let confirmed = Quorum.reached(by: configuration.voters, and: configuration.outgoingVoters) { voter in
            if voter == id || mutated(.readsWithoutQuorum) { return reads.startedRound }
            return progress.first { $0.replica == voter }?.confirmedReadRound
        }
        extendLease(throughRound: confirmed)
        let count = reads.rounds.prefix { $0.number <= confirmed }.count
        if count == 0 { return }
        for round in reads.rounds[..<count] {
            reads.requestCount -= round.requests.count
            for request in round.requests { answer(request, at: round.index) }
        }
        reads.rounds.removeFirst(count)
    }

    private mutating func answer(_ request: ReadQueue.Request, at index: LogIndex) {
        let state = ReadState(context: request.context, index: index)
        if request.from == id {
            outbox.readStates.append(state)
        } else {
            // Whoever asked has to apply up to there.
            if let member = position(of: request.from), progress[member].sentCommit < index {
                sendAppend(to: member, evenIfEmpty: true)
            }
            send(.readIndexResponse(state), to: request.from)
        }
    }

    /// Leadership is gone, or new: whoever asked has to ask again.
    mutating func failOwnReads() {
        for request in reads.waiting where request.from == id {
            outbox.failedReads.append(request.context)
        }
        for round in reads.rounds {
            for request in round.requests where request.from == id {
                outbox.failedReads.append(request.context)
            }
        }
        reads.waiting = []
        reads.rounds = []
        reads.startedRound = 0
        reads.requestCount = 0
        reads.isLeaseForfeited = false
        suspendLease()
    }

    // MARK: Follower

    mutating func finishForwardedRead(_ state: ReadState) {
        guard let position = reads.forwarded.firstIndex(where: { $0.context == state.context })
        else { return }
        reads.forwarded.remove(at: position)
        outbox.readStates.append(state)
    }

    mutating func failForwardedReads() {
        for read in reads.forwarded { outbox.failedReads.append(read.context) }
        reads.forwarded = []
    }

    mutating func expireForwardedReads(_ count: Int) {
        if reads.forwarded.isEmpty { return }
        for position in reads.forwarded.indices { reads.forwarded[position].ticksLeft -= count }
        let expired = reads.forwarded.prefix { $0.ticksLeft <= 0 }.count
        for read in reads.forwarded[..<expired] { outbox.failedReads.append(read.context) }
        reads.forwarded.removeFirst(expired)
    }
}
