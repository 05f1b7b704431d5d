import FlotillaIO

/// What tasks ask of a group, on its way to the loop: a lock, an append, and one wake-up however many ask.
struct GroupInbox: Sendable {
    enum Request: Sendable {
        case propose(Proposal)
        /// Wait until everything that was committed before is applied here.
        case barrier(Completion<Void>)
        /// Run on the loop, in the group.
        case perform(@Sendable (isolated RaftGroup) -> Void)
    }

    struct Proposal: Sendable {
        var operations: [Operation]
        var ownerEpoch: UInt64
        var completion: Completion<Answer>
    }

    /// Requests that may wait for the loop; more are refused as `overloaded`.
    static let limit = 65_536

    private struct State {
        var requests: [Request] = []
        /// Why commands and reads are refused.
        var refusal: GroupError?
        /// Nobody drains it any more.
        var isClosed = false
    }

    private let state = Lock(State())

    /// - Returns: whether it was empty, so that the loop has to be made to call `drain()`.
    func submit(_ request: Request) throws(GroupError) -> Bool {
        let outcome: Result<Bool, GroupError> = state.withLock { state in
            if let refusal = state.refusal {
                // A group that stopped can still be looked at, while its node runs.
                guard case .perform = request, !state.isClosed else { return .failure(refusal) }
            }
            guard state.requests.count < Self.limit else {
                return .failure(
                    GroupError(.overloaded, "\(Self.limit) requests wait for the group already; try again later"))
            }
            state.requests.append(request)
            return .success(state.requests.count == 1)
        }
        return try outcome.get()
    }

    func drain() -> [Request] {
        state.withLock { state in
            var taken: [Request] = []
            swap(&taken, &state.requests)
            return taken
        }
    }

    /// Refuses commands and reads from now on, the first time with this reason for good; what waited is returned.
    func refuse(_ reason: GroupError) -> [Request] { end { $0.refusal = $0.refusal ?? reason } }

    /// Refuses everything from now on; what waited is returned.
    func close(_ reason: GroupError) -> [Request] {
        end { state in
            state.refusal = state.refusal ?? reason
            state.isClosed = true
        }
    }

    private func end(_ change: (inout State) -> Void) -> [Request] {
        state.withLock { state in
            change(&state)
            var taken: [Request] = []
            swap(&taken, &state.requests)
            return taken
        }
    }
}
