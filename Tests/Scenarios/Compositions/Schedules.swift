import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

/// Schedules that run through faults. Touched on the simulation's thread only.
final class Schedules: @unchecked Sendable {
    // Unchecked: see above.
    private static let overlaps: [ScheduleOverlap] = [.queue, .allow]
    private static let interval = 2
    /// For answers and for what has fired to end, once there are no faults.
    private static let restLimit: Duration = .seconds(90)

    private let nodes: WorkflowNodes
    private let leaf: String
    private var world: SimulationWorld { nodes.world }

    init(_ nodes: WorkflowNodes, leaf: String) { (self.nodes, self.leaf) = (nodes, leaf) }

    private func name(_ overlap: ScheduleOverlap) -> String { "every-\(overlap)" }

    func create() async throws {
        for overlap in Self.overlaps {
            var schedule = Schedule(leaf, everySeconds: Self.interval, input: .integer(1))
            schedule.overlap = overlap
            _ = try await insisting("the schedule '\(name(overlap))' is there") { [schedule, name = name(overlap)] in
                do {
                    try await $0.createSchedule(name, schedule)
                } catch let error as WorkflowError where error.code == .conflict {
                    // By an earlier request.
                }
            }
        }
    }

    /// Gives the schedules so much to do that new executions begin: none of it changes what they fire.
    func disturb(until end: MonotonicTime) async throws {
        while world.now < end {
            for overlap in Self.overlaps {
                if let node = nodes.anyNode() {
                    _ = try? await nodes.withTimeLimit(.seconds(3)) { [name = name(overlap)] in
                        try await node.changeSchedule(name, .backfill(from: 0, to: 0))
                    }
                }
            }
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 400)) + 200))
        }
    }

    // MARK: Checks at the end

    /// Stops them. Each firing must have started its workflow, once.
    func check(_ steps: StepLog) async throws {
        for overlap in Self.overlaps {
            let name = name(overlap)
            try await world.wait(until: "'\(name)' has fired", within: Self.restLimit, every: .milliseconds(500)) {
                let known = try? await self.nodes.anyNode()?.schedule(name)
                return known.map { $0.fired > 1 } ?? false
            }
            _ = try await insisting("'\(name)' is paused") { try await $0.changeSchedule(name, .pause(note: "")) }
            var known: ScheduleDescription?
            try await world.wait(
                until: "all of '\(name)' have begun", within: Self.restLimit, every: .milliseconds(500)
            ) {
                known = try? await self.nodes.anyNode()?.schedule(name)
                return known?.queued == 0
            }
            // A list over clusters is not of one moment: what moves from one to another meanwhile may be in neither.
            var ids: [String] = []
            for _ in 0..<20 {
                ids = try await startedBy(name)
                if ids.count == known?.fired { break }
                try await world.sleep(for: .milliseconds(500))
            }
            let times = ids.compactMap { WallTime(rfc3339: String($0.dropFirst(name.utf8.count + 1)))?.nanoseconds }
            guard let known, known.skipped == 0, known.fired == ids.count, times.count == ids.count else {
                throw ScenarioFailure("'\(name)' has started \(ids), and says \(String(describing: known))")
            }
            let step = Int64(Self.interval) * 1_000_000_000
            guard ids.count > 1, zip(times, times.dropFirst()).allSatisfy({ $1 - $0 == step }) else {
                throw ScenarioFailure("'\(name)' left firings out, or moved them: \(ids)")
            }
            for id in ids {
                _ = try await insisting("'\(id)' has completed") {
                    try await $0.result(of: id, as: Int.self, timeout: .seconds(10))
                }
                guard steps.hasRun(id) else { throw ScenarioFailure("'\(id)' completed without its step") }
            }
            try await insisting("'\(name)' is deleted") { node in
                do {
                    try await node.deleteSchedule(name)
                } catch let error as WorkflowError where error.code == .notFound {
                    // By an earlier request.
                }
            }
        }
    }

    /// The workflows that a schedule has started, the first first.
    private func startedBy(_ name: String) async throws -> [String] {
        let all = try await insisting("all runs are listed") { node in
            var ids: [String] = []
            var after: String?
            repeat {
                let page = try await node.list(WorkflowFilter(type: self.leaf), after: after, limit: 1_000)
                guard !page.isPartial else { throw WorkflowError(.unavailable, "a cluster does not answer") }
                ids += page.runs.map(\.workflowID)
                after = page.next
            } while after != nil
            return ids
        }
        let started = all.filter { $0.hasPrefix(name + "@") }
        guard Set(started).count == started.count else { throw ScenarioFailure("'\(name)' started twice: \(started)") }
        return started.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Asks one node after the other until one has done it.
    @discardableResult
    private func insisting<Value: Sendable>(
        _ what: String, _ body: @escaping @Sendable (Node) async throws -> Value
    ) async throws -> Value {
        try await nodes.insisting(what, within: Self.restLimit, body)
    }
}
