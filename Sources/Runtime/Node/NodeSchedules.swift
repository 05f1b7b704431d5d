import FlotillaActors
import FlotillaIO

// Schedules, by any node.

extension Node {
    /// Starts workflows at certain times, each firing once: its workflow id is the schedule's name, "@" and the time.
    /// - Parameter name: 1 to 200 bytes.
    /// - Throws: `WorkflowError` with `invalidInput` where the schedule makes no sense, `conflict` where there is one of
    ///   the name.
    @discardableResult
    public func createSchedule(
        _ name: String, _ schedule: Schedule, isPaused: Bool = false
    ) async throws -> ScheduleDescription {
        let services = try await running()
        let now = Schedule.wholeSeconds(services.core.loop.wallNow)
        try ScheduleWorkflow.checkName(name)
        try schedule.check(at: now)
        var state = ScheduleState(name: name, schedule: schedule, anchor: now, last: now)
        state.isPaused = isPaused
        let id = ScheduleWorkflow.id(of: name)
        if try await begin(id, state) { return state.description }
        // One that was deleted may not have been removed at once.
        if try await describe(id).info.status.isFinished {
            try await prune(id)
            if try await begin(id, state) { return state.description }
        }
        throw WorkflowError(.conflict, "there is a schedule '\(name)'; replace or delete it")
    }

    /// - Returns: false where the id is taken.
    private func begin(_ id: String, _ state: ScheduleState) async throws -> Bool {
        do {
            return try await !start(ScheduleWorkflow.workflow, id: id, input: state).started.existed
        } catch let error as WorkflowError where error.code == .conflict {
            return false
        }
    }

    /// - Throws: `WorkflowError` with `notFound`.
    public func schedule(_ name: String) async throws -> ScheduleDescription {
        try await naming(name) { id in
            guard try await !self.describe(id).info.status.isFinished else {
                throw WorkflowError(.notFound, "it has ended")
            }
            return try await self.query(id, ScheduleWorkflow.description, true)
        }
    }

    /// All schedules, in the order of their making, with what came of them.
    public func schedules() async throws -> [ScheduleDescription] {
        var found: [ScheduleDescription] = []
        var after: String?
        repeat {
            let page = try await list(WorkflowFilter(type: ScheduleWorkflow.typeName), after: after)
            for info in page.runs where !info.status.isFinished {
                guard let name = ScheduleWorkflow.name(of: info.workflowID) else { continue }
                do {
                    found.append(try await schedule(name))
                } catch let error as WorkflowError where error.code == .notFound {
                    // Deleted meanwhile.
                }
            }
            after = page.next
        } while after != nil
        // A new execution stands behind others, so the order of the list is not that of their making.
        return found.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    }

    /// Pauses or resumes a schedule, replaces it, lets it fire now, or fires for a time that is over. Done when it
    /// returns; workflows that wait for others begin later.
    /// - Throws: `WorkflowError` with `notFound`, or `rejected` and the reason.
    @discardableResult
    public func changeSchedule(_ name: String, _ command: ScheduleCommand) async throws -> ScheduleDescription {
        let router = try await router
        return try await naming(name) { id in
            try await self.update(id, ScheduleWorkflow.control, command, updateID: router.randomName())
        }
    }

    /// Ends a schedule. What it has started goes on.
    /// - Throws: `WorkflowError` with `notFound`.
    public func deleteSchedule(_ name: String) async throws {
        try await naming(name) { id in
            do {
                try await self.control(id, .terminate, reason: "the schedule is deleted")
                try await self.prune(id)
            } catch let error as WorkflowError where error.code == .wrongState {
                // It had ended before, or still has to start what fired last; then it is removed some time later.
            }
        }
    }

    private func naming<Result>(_ name: String, _ body: (_ id: String) async throws -> Result) async throws -> Result {
        do {
            return try await body(ScheduleWorkflow.id(of: name))
        } catch let error as WorkflowError where error.code == .notFound {
            throw WorkflowError(.notFound, "there is no schedule '\(name)'")
        }
    }
}
