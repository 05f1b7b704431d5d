import FlotillaIO
import FlotillaRaft

/// Which of a group's messages go over the bulk connection: those with so many bytes of entries that heartbeats and other
/// groups would wait behind them.
///
/// While such an append is on its way to a replica, the group's other appends to that one count as lost. They would
/// overtake it and be refused, and refused appends are sent again with what stands before them. Once it is acknowledged
/// the core sends them.
struct LargeMessages {
    enum Way {
        case consensus, bulk
        /// It counts as lost.
        case none
    }

    /// A large append that is not acknowledged yet.
    private struct Flight {
        var term: Term
        var previous: LogIndex
        var last: LogIndex
        var expires: MonotonicTime
    }

    private let limit: Int
    private var flights: [ReplicaID: Flight] = [:]

    /// What was not acknowledged after this long counts as lost, if nothing said so before.
    private static let timeLimit = Transport.bulkSilenceLimit

    /// - Parameter limit: bytes of entries that a message may have on the consensus connection.
    init(limit: Int) { self.limit = limit }

    mutating func way(of message: Message, now: MonotonicTime) -> Way {
        switch message.body {
        case .append(let append):
            if let flight = flights[message.to], flight.term == message.term, append.previousIndex >= flight.previous,
                now < flight.expires
            {
                return .none
            }
            guard isLarge(append.entries) else { return .consensus }
            flights[message.to] = Flight(
                term: message.term, previous: append.previousIndex, last: append.previousIndex + append.entries.count,
                expires: now.advanced(by: Self.timeLimit))
            return .bulk
        case .forwardedProposal(let entries): return isLarge(entries) ? .bulk : .consensus
        case .preVote, .preVoteResponse, .vote, .voteResponse, .appendResponse, .heartbeat, .heartbeatResponse,
            .snapshot, .readIndex, .readIndexResponse, .timeoutNow, .forwardedTransfer, .quiesce:
            return .consensus
        }
    }

    private func isLarge(_ entries: [Entry]) -> Bool {
        var bytes = 0
        for entry in entries {
            bytes += entry.payload.count
            if bytes > limit { return true }
        }
        return false
    }

    /// Takes note of a message that arrived.
    /// - Returns: whether it acknowledges a large append: what was to follow that one was not sent.
    mutating func received(_ message: Message) -> Bool {
        guard case .appendResponse(let response) = message.body, let flight = flights[message.from],
            flight.term == message.term
        else { return false }
        // A refusal names the index before the append that was refused.
        if response.isRejected ? response.index == flight.previous : response.index >= flight.last {
            flights[message.from] = nil
            return !response.isRejected
        }
        return false
    }

    /// What is on its way to a replica is lost.
    /// - Returns: whether there was something.
    @discardableResult
    mutating func lost(_ replica: ReplicaID) -> Bool { flights.removeValue(forKey: replica) != nil }
}

extension RaftGroup {
    /// The bulk connection with a node broke, or could not be made.
    /// - Returns: whether the core has to be asked what it wants now.
    func bulkDidClose(_ node: NodeID) -> Bool {
        sourceFailed(node)
        guard stopReason == nil, let replica = core.configuration.replica(on: node), largeMessages.lost(replica),
            core.status.role == .leader
        else { return false }
        core.reportUnreachable(replica)
        return true
    }
}
