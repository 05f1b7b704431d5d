import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Finds the group that has a run, and somebody in it who answers: this node where it is a member, else another one.
///
/// What the management state says is where to ask first. Who answers knows better: the home of the id, and the group of
/// the run.
struct WorkflowRouter: Sendable {
    let core: NodeCore
    let clusters: ExecutionClusters
    let machines: NodeMachines
    let placements: PlacementView
    let random: @Sendable () -> UInt64

    /// For how long a run is looked for, and members of its group are asked, before a request fails as `unavailable`.
    static let patience: Duration = .seconds(20)
    /// So often a run may be where its address says and not be found there: an address may be left before the run.
    private static let lostLimit = 3
    /// A wait for a run's end is answered after this at most; then the run is looked for again.
    static let waitMax: Duration = .seconds(20)

    // MARK: One run

    /// Asks the group that has the run `id`, wherever it is.
    func perform<Request: RunRequest>(_ request: Request, on id: String) async throws -> Request.Reply {
        do {
            return try await search(for: id, request)
        } catch let error as WorkflowError where error.code == .notFound {
            guard let run = ExecutionID.run(of: id) else { throw error }
            let place: LocateRun.Reply
            do {
                place = try await search(for: run, LocateRun(id: run))
            } catch let absence as WorkflowError where absence.code == .notFound {
                throw error
            }
            // The home of a former execution's own id hears of it only once that has moved.
            return try await search(for: id, request, from: place.group)
        }
    }

    /// - Parameter first: where it is likely to be; nil for the group that the id names, or its home.
    private func search<Request: RunRequest>(
        for id: String, _ request: Request, from first: GroupID? = nil
    ) async throws -> Request.Reply {
        var search = Search(deadline: core.loop.now.advanced(by: Self.patience + request.patience))
        try await machines.untilHeard(on: core.loop, patience: Self.patience)
        // An id that names its group needs no home: until it is known to have left that group.
        var named = first ?? machines.namedGroup(of: id)
        while true {
            let home = machines.home(of: id)
            var group = named ?? home
            var cameByAddress = false
            var isMoving = false
            var hops = 0
            visit: while true {
                switch try await attempt(request, in: group) {
                case .value(let reply): return reply
                case .failed(let error): throw error
                case .unknownOutcome(let reason):
                    guard Request.isRepeatable else { throw WorkflowError(.unavailable, reason) }
                    try await pause(&search, because: reason)
                    break visit
                case .elsewhere(let other, let mayBeNowhere):
                    (group, cameByAddress) = (other, true)
                    isMoving = isMoving || mayBeNowhere
                    hops += 1
                    // Two that send to each other: it is on its way.
                    guard hops < 3 else {
                        try await pause(&search, because: "workflow '\(id)' is on its way to \(other)")
                        break visit
                    }
                case .unknown(let reason):
                    if group == named {
                        named = nil
                        break visit
                    }
                    if cameByAddress, !isMoving {
                        search.losses += 1
                        guard search.losses < Self.lostLimit else {
                            throw WorkflowError(.notFound, "there is no workflow '\(id)'")
                        }
                    }
                    try await pause(&search, because: reason)
                    break visit
                case .refused(_, let reason), .notHere(let reason):
                    if group == named, machines.hasEnded(group) { named = nil }
                    try await pause(&search, because: reason)
                    break visit
                }
            }
        }
    }

    /// How far the search for a run has come.
    struct Search {
        var deadline: MonotonicTime
        var backoff = Backoff()
        var losses = 0
    }

    func pause(_ search: inout Search, because reason: String) async throws {
        try checkRunning()
        guard core.loop.now < search.deadline else { throw WorkflowError(.unavailable, reason) }
        var generator = ClosureGenerator(draw: random)
        try await core.loop.sleep(for: search.backoff.next(using: &generator))
    }

    func checkRunning() throws(WorkflowError) {
        if let failure = clusters.failure { throw WorkflowError(.stopped, failure.message) }
    }

    // MARK: One group

    /// Asks a group about its runs.
    func perform<Request: RunRequest>(_ request: Request, in group: GroupID) async throws -> Request.Reply {
        var search = Search(deadline: core.loop.now.advanced(by: request.patience))
        while true {
            switch try await attempt(request, in: group) {
            case .value(let reply): return reply
            case .failed(let error): throw error
            case .elsewhere, .unknown:
                throw WorkflowError(.unexpectedAnswer, "\(group) speaks of a run, and was asked about all")
            case .refused(_, let reason): throw WorkflowError(.unavailable, reason)
            case .unknownOutcome(let reason):
                guard Request.isRepeatable else { throw WorkflowError(.unavailable, reason) }
                try await pause(&search, because: reason)
            case .notHere(let reason): try await pause(&search, because: reason)
            }
        }
    }

    /// Asks this node's replica of a group, or its members one after the other until one answers.
    func attempt<Request: RunRequest>(
        _ request: Request, in group: GroupID
    ) async throws -> RunAttempt<Request.Reply> {
        if core.hosted[group] != nil {
            try checkRunning()
            let attempt = try await request.attempt(on: try await clusters.engine(of: group))
            guard case .notHere = attempt, core.hosted[group] == nil else { return attempt }
        }
        try checkRunning()
        var reason = "\(group) has no member that this node knows"
        var mayBeDone = false
        for node in machines.members(of: group, draw: random) where node != core.node {
            switch try await ask(request, node, group: group) {
            case .notHere(let why): reason = why
            case .unknownOutcome(let why) where Request.isRepeatable: (reason, mayBeDone) = (why, true)
            case let attempt: return attempt
            }
        }
        return mayBeDone ? .unknownOutcome(reason) : .notHere(reason)
    }

    // MARK: One node

    /// Asks one node.
    func perform<Request: NodeLevelRequest>(_ request: Request, on node: NodeID) async throws -> Request.Reply {
        switch try await ask(request, node, group: nil) {
        case .value(let reply): return reply
        case .failed(let error): throw error
        case .elsewhere, .unknown, .refused:
            throw WorkflowError(.unexpectedAnswer, "\(node) speaks of a run, and was asked about itself")
        case .notHere(let reason), .unknownOutcome(let reason): throw WorkflowError(.unavailable, reason)
        }
    }

    private func ask<Request: RemoteRequest>(
        _ request: Request, _ node: NodeID, group: GroupID?
    ) async throws -> RunAttempt<Request.Reply> {
        let envelope = RequestEnvelope(name: Request.name, group: group, body: try JSONCoding.encode(request))
        let bytes: [UInt8]
        do {
            bytes = try await core.ask(node, envelope.encoded, timeout: request.patience)
        } catch let error as NodeRequestError {
            switch error.code {
            case .notConnected, .refused, .overloaded: return .notHere(error.description)
            case .tooLarge: return .failed(WorkflowError(.inputTooLarge, error.description))
            case .unknownOutcome: return .unknownOutcome(error.description)
            }
        }
        do {
            switch try ReplyEnvelope(decoding: bytes) {
            case .value(let body): return .value(try JSONCoding.decode(Request.Reply.self, from: body))
            case .failed(let failure):
                let error = failure.error
                if let error = error as? WorkflowError, error.code == .stopped { return .notHere(error.message) }
                return .failed(error)
            case .elsewhere(let group, let isMoving): return .elsewhere(group, isMoving: isMoving)
            case .notHere(let reason): return .notHere(reason)
            case .unknown(let reason): return .unknown(reason)
            case .refused(let code, let reason): return .refused(code, reason)
            }
        } catch {
            return .failed(WorkflowError(.unexpectedAnswer, "the answer of \(node) makes no sense here: \(error)"))
        }
    }
}
