import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What takes more than one request, or one of several groups.

extension WorkflowRouter {
    // MARK: Start

    /// - Parameters:
    ///   - version: nil takes the one that the run has, or the newest.
    ///   - id: nil makes one.
    func start(type: String, version: UInt32?, id: String?, input: [UInt8]) async throws -> StartedRun {
        let runID = RunID(
            milliseconds: core.loop.wallNow.nanoseconds / 1_000_000, random: (random(), random()))
        let id = id ?? runID.description
        let request = StartRunRequest(type: type, version: version, id: id, runID: runID, input: input)
        return try await perform(request, on: id)
    }

    // MARK: Result

    func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration?
    ) async throws -> Output {
        guard let outcome = try await outcome(of: id, timeout: timeout) else {
            throw WorkflowError(.timedOut, "workflow '\(id)' has not ended in time; it goes on")
        }
        return try outcome.value(of: id, as: type)
    }

    /// - Returns: nil when the time is over.
    func outcome(of id: String, timeout: Duration?) async throws -> WorkflowOutcome? {
        let deadline = timeout.map { core.loop.now.advanced(by: $0) }
        while true {
            let left = deadline.map { max(.zero, core.loop.now.duration(to: $0)) }
            let wait = min(left ?? Self.waitMax, Self.waitMax)
            if let outcome = try await perform(AwaitRun(id: id, timeout: wait), on: id) { return outcome }
            if let deadline, core.loop.now >= deadline { return nil }
        }
    }

    // MARK: All runs

    func list(_ filter: WorkflowFilter, after: String?, limit: Int) async throws -> WorkflowPage {
        let request = ListRuns(filter: filter, after: after, limit: limit)
        return try await perform(request, in: NodeStart.executionGroup.group)
    }

    func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int
    ) async throws -> (count: Int, hasMore: Bool) {
        var count = 0
        while count < limit {
            let request = PruneFinishedRuns(
                retention: retention, limit: min(limit - count, PruneFinishedRuns.portion))
            let reply = try await perform(request, in: NodeStart.executionGroup.group)
            count += reply.count
            guard reply.hasMore else { return (count, false) }
        }
        return (count, true)
    }
}
