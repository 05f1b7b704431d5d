import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What takes more than one request, or one of several groups.

extension WorkflowRouter {
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
}
