import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Starts, from any node. A small fleet has one cluster, which is the home of all ids: one command. Else a cluster is chosen;
// an id that this node makes names it, which also costs one command; an id of the user's is taken at its home first, for a
// run that only then begins in its cluster. Whoever finds an id taken goes where its run is, and begins it if nobody has:
// so two starts of one id make one run, wherever either of them stops.

extension WorkflowRouter {
    /// How long a cluster that nobody answers for is waited for before another one is chosen.
    private static let clusterPatience: Duration = .seconds(3)

    /// - Parameters:
    ///   - version: nil takes the one that the run has, or the newest.
    ///   - id: nil makes one.
    func start(
        type: String, version: UInt32?, id: String?, input: [UInt8], attributes: [String: String] = [:],
        parent: RunTies.Parent? = nil, trace: TraceContext? = nil
    ) async throws -> StartedRun {
        // A cluster is not to be chosen, or made, for what none would take.
        _ = try RunAttributes(checking: attributes)
        try await machines.untilHeard(on: core.loop, patience: Self.patience)
        if machines.management.withLock({ $0.mode }) == .single {
            let runID = newRunID()
            let id = id ?? runID.description
            var request = StartRunRequest(type: type, version: version, id: id, runID: runID, input: input)
            (request.attributes, request.parent, request.trace) = (attributes, parent, trace)
            return try await perform(request, on: id)
        }
        guard let newest = version ?? machines.newestVersion(of: type) else {
            throw WorkflowError(
                .unknownWorkflow,
                "no node ever registered a workflow '\(type)'; check the name, or start a node that has it")
        }
        guard try await hasNode(having: type, version: newest) else {
            let unknown = WorkflowError(
                .unknownWorkflow,
                "no node has version \(newest) of workflow '\(type)'; check the number, or start a node that has it")
            guard let id, try await exists(id) else { throw unknown }
            // It may be what an earlier request has begun.
            var request = StartRunRequest(type: type, version: newest, id: id, runID: newRunID(), input: input)
            (request.placement, request.attributes, request.parent) = (.atHome, attributes, parent)
            return try await perform(request, on: id)
        }
        var start = PlacedStart(
            type: type, version: version, newest: newest, input: input, attributes: attributes,
            parent: parent, trace: trace,
            search: Search(deadline: core.loop.now.advanced(by: Self.patience)))
        guard let id else { return try await startGenerated(&start) }
        try WorkflowLimits.checkID(id)
        return try await startReserved(&start, id: id)
    }

    /// Whether a node of the fleet has a version. One that has just started may not have been heard of.
    private func hasNode(having type: String, version: UInt32) async throws -> Bool {
        let deadline = core.loop.now.advanced(by: Self.clusterPatience)
        while machines.nodes(having: type, version: version).isEmpty {
            try checkRunning()
            guard core.loop.now < deadline else { return false }
            try await core.loop.sleep(for: .milliseconds(50))
        }
        return true
    }

    private func exists(_ id: String) async throws -> Bool {
        do {
            _ = try await perform(LocateRun(id: id), on: id)
            return true
        } catch let error as WorkflowError where error.code == .notFound {
            return false
        }
    }

    /// What is to begin, and where it was tried.
    private struct PlacedStart {
        var type: String
        var version: UInt32?
        var newest: UInt32
        var input: [UInt8]
        var attributes: [String: String]
        var parent: RunTies.Parent?
        var trace: TraceContext?
        var search: Search
        var refused: Set<ClusterID> = []
        /// The last choice was wrong.
        var isStale = false

        func request(
            _ id: String, _ runID: RunID, _ placement: StartRunRequest.Placement, admitBelow: Int
        ) -> StartRunRequest {
            var request = StartRunRequest(type: type, version: version, id: id, runID: runID, input: input)
            (request.newest, request.placement, request.admitBelow) = (newest, placement, UInt64(admitBelow))
            (request.attributes, request.parent, request.trace) = (attributes, parent, trace)
            return request
        }
    }

    func newRunID() -> RunID {
        RunID(milliseconds: core.loop.wallNow.nanoseconds / 1_000_000, random: (random(), random()))
    }

    // MARK: Ids of the fleet's own

    private func startGenerated(_ start: inout PlacedStart) async throws -> StartedRun {
        while true {
            let cluster = try await place(&start)
            let runID = newRunID()
            let id = GeneratedID(group: cluster.group, runID: runID).text
            let request = start.request(id, runID, .generated, admitBelow: cluster.limit)
            let givenUpAt = core.loop.now.advanced(by: Self.clusterPatience)
            var attempt = try await attempt(request, in: cluster.group)
            while let reason = reasonToStay(attempt, cluster.group, until: givenUpAt) {
                try await pause(&start.search, because: reason)
                attempt = try await self.attempt(request, in: cluster.group)
            }
            switch attempt {
            case .value(let started): return started
            case .failed(let error): throw error
            case .elsewhere, .unknown, .refused, .notHere, .unknownOutcome:
                try await reject(cluster, &start, because: Self.reason(attempt))
            }
        }
    }

    /// Why the same cluster is to be asked again.
    private func reasonToStay(
        _ attempt: RunAttempt<StartedRun>, _ group: GroupID, until givenUpAt: MonotonicTime
    ) -> String? {
        switch attempt {
        // It may have begun there, so it is not begun elsewhere while that can be found out.
        case .unknownOutcome(let reason): machines.hasEnded(group) ? nil : reason
        // A new cluster is not there at once.
        case .notHere(let reason): core.loop.now < givenUpAt && !machines.hasEnded(group) ? reason : nil
        case .value, .failed, .elsewhere, .unknown, .refused: nil
        }
    }

    // MARK: Ids of the user's

    private func startReserved(_ start: inout PlacedStart, id: String) async throws -> StartedRun {
        var replacing: TransferOperation.Reservation.Replaced?
        // As long as they are not turned down.
        var chosen: (cluster: Place, runID: RunID)?
        while true {
            let (cluster, runID): (Place, RunID)
            if let chosen {
                (cluster, runID) = chosen
            } else {
                (cluster, runID) = (try await place(&start), newRunID())
                chosen = (cluster, runID)
            }
            let reserve = ReserveRun(
                id: id, runID: runID, group: cluster.group, replacing: replacing.map(ReserveRun.Replaced.init))
            let reserved = try await perform(reserve, on: id)
            let isMine = reserved.runID == reserve.runID
            var group = reserved.group
            let request = start.request(
                id, reserved.runID, .reserved(epoch: reserved.slotEpoch), admitBelow: isMine ? cluster.limit : 0)
            var hops = 0
            attempts: while true {
                let attempt = try await attempt(request, in: group)
                switch attempt {
                case .value(var started):
                    // The run has the id of the reservation, whoever made that.
                    started.existed = started.existed || !isMine
                    return started
                case .failed(let error): throw error
                case .elsewhere(let other, _):
                    hops += 1
                    group = other
                    guard hops < 3 else {
                        try await pause(&start.search, because: "workflow '\(id)' is on its way to \(other)")
                        break attempts
                    }
                case .refused(let code, let reason):
                    guard code == .full || code == .sealed || code == .notReserved || code == .unknownWorkflow else {
                        try await pause(&start.search, because: reason)
                        break attempts
                    }
                    replacing = .init(runID: reserved.runID, group: group)
                    chosen = nil
                    try await reject(group, &start, because: reason)
                    break attempts
                case .unknown, .notHere, .unknownOutcome:
                    let reason = Self.reason(attempt)
                    if machines.hasEnded(group) {
                        replacing = .init(runID: reserved.runID, group: group, isLost: true)
                        chosen = nil
                        break attempts
                    }
                    try await pause(&start.search, because: reason)
                    break attempts
                }
            }
        }
    }

    // MARK: Clusters

    private struct Place {
        var id: ClusterID
        var group: GroupID
        var limit: Int
    }

    /// A cluster with room; one that is made for it where there is none.
    private func place(_ start: inout PlacedStart) async throws -> Place {
        while true {
            try checkRunning()
            var request = Placement.Request(type: ByteText(start.type), origin: core.node)
            request.capable = machines.nodes(having: start.type, version: start.version)
            request.refused = start.refused
            switch placements.choose(request, isFresh: start.isStale) {
            case .cluster(let id):
                let view = machines.management.withLock { $0 }
                guard let cluster = view.clusters[id] else {
                    start.isStale = true
                    start.refused.insert(id)
                    continue
                }
                start.isStale = false
                return Place(id: id, group: cluster.group, limit: view.policy.maximumWorkflowsPerCluster)
            case .create(let founders, let pinnedType):
                do {
                    try await placements.creating { try await create(founders, pinnedType) }
                } catch let error as NodeError where error.code == .refused {
                    // The fleet has changed since.
                    try await pause(&start.search, because: error.message)
                } catch let error as GroupError {
                    // The management group has no leader for now, or more to do than it takes.
                    try await pause(&start.search, because: "no cluster can be made: \(error.message)")
                }
                start.isStale = true
            case .nowhere(let reason):
                // Nodes come, runs end.
                start.isStale = true
                start.refused = []
                try await pause(&start.search, because: reason)
            }
        }
    }

    /// Returns when this node has heard of the new cluster.
    private func create(_ founders: [NodeID], _ pinnedType: ByteText?) async throws {
        let id = ClusterID(milliseconds: core.loop.wallNow.nanoseconds / 1_000_000, random: (random(), random()))
        var creation = ClusterCreation(cluster: id, founders: founders)
        creation.pinnedType = pinnedType
        try await core.manage([.createCluster(creation)])
        let deadline = core.loop.now.advanced(by: .seconds(5))
        while machines.management.withLock({ $0.clusters[id] }) == nil, core.loop.now < deadline {
            try await core.loop.sleep(for: .milliseconds(5))
        }
    }

    private func reject(_ place: Place, _ start: inout PlacedStart, because reason: String) async throws {
        start.refused.insert(place.id)
        start.isStale = true
        guard core.loop.now < start.search.deadline else { throw WorkflowError(.unavailable, reason) }
    }

    private func reject(_ group: GroupID, _ start: inout PlacedStart, because reason: String) async throws {
        if let id = machines.management.withLock({ $0.clustersByGroup[group] }) { start.refused.insert(id) }
        start.isStale = true
        guard core.loop.now < start.search.deadline else { throw WorkflowError(.unavailable, reason) }
    }

    private static func reason(_ attempt: RunAttempt<StartedRun>) -> String {
        switch attempt {
        case .value: "it has begun"
        case .failed(let error): "\(error)"
        case .elsewhere(let group, _): "the run is in \(group)"
        case .unknown(let reason), .refused(_, let reason), .notHere(let reason), .unknownOutcome(let reason): reason
        }
    }
}

/// A workflow id that this fleet made: it names the group that the run began in.
struct GeneratedID: Hashable, Sendable {
    var group: GroupID
    var runID: RunID

    init(group: GroupID, runID: RunID) {
        (self.group, self.runID) = (group, runID)
    }

    /// - Returns: nil for an id that somebody chose.
    init?(_ text: String) {
        guard text.utf8.first == UInt8(ascii: "~"), let dot = text.firstIndex(of: "."),
            let group = UInt64(text[text.index(after: text.startIndex)..<dot], radix: 36),
            let runID = RunID(String(text[text.index(after: dot)...]))
        else { return nil }
        self.init(group: GroupID(group), runID: runID)
        guard self.text == text else { return nil }
    }

    var text: String { "~\(String(group.rawValue, radix: 36)).\(runID)" }
}
