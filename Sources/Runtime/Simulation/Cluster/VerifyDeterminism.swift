public import Flotilla
import FlotillaIO

/// Runs a scenario twice with one seed and compares the two histories: the event logs byte for byte, and the hashes of
/// all decisions. Fails where the scenario, or a workflow, looks at something that the seed does not decide, such as
/// the system's clock, the order of a `Dictionary` or an address.
/// - Returns: the event log of both.
/// - Throws: `SimulationError` (`notDeterministic`) with the first line that differs; whatever `withSimulation` throws.
@discardableResult
public func verifyDeterminism(
    seed: UInt64, nodes: Int = 3, workflows: [any RegisterableWorkflow], limits: SimulationLimits = SimulationLimits(),
    _ body: @escaping @Sendable (_ simulation: SimulatedCluster) async throws -> Void
) async throws -> String {
    let runOnce: @Sendable () async throws -> SimulationResult<String> = {
        try await withSimulation(seed: seed, nodes: nodes, workflows: workflows, limits: limits) { simulation in
            try await body(simulation)
            return simulation.eventLog
        }
    }
    let (first, second) = (try await runOnce(), try await runOnce())
    guard first.value != second.value || first.traceHash != second.traceHash else { return first.value }
    throw SimulationError(
        code: .notDeterministic, message: difference(first, second), seed: seed,
        time: SimulationWorld.start.advanced(by: min(first.elapsed, second.elapsed)))
}

private func difference(_ first: SimulationResult<String>, _ second: SimulationResult<String>) -> String {
    let lines = first.value.split(separator: "\n")
    let others = second.value.split(separator: "\n")
    for (number, pair) in zip(lines, others).enumerated() where pair.0 != pair.1 {
        return "two runs differ from line \(number + 1) of the event log on: '\(pair.0)' and '\(pair.1)'"
    }
    if lines.count != others.count {
        return "one run's event log goes on after \(min(lines.count, others.count)) equal lines"
    }
    return "two runs with equal event logs took different decisions: \(first.steps) and \(second.steps) steps, trace "
        + "hashes \(first.traceHash) and \(second.traceHash)"
}
