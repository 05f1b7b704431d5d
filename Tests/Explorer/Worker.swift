import FlotillaIO
import FlotillaScenarios
import FlotillaSimulation
import Glibc

/// The side that simulates: a case per line of standard input, an outcome per line of standard output. It is a process
/// of its own, so that a trap in the library is a failure of that case, and not the end of the whole search.
enum Worker {
    static func run() async {
        // The supervisor's death ends its workers: their input ends.
        while let line = readLine() {
            guard let instance = ScenarioCase(line) else { continue }
            Terminal.writeLine(await outcome(of: instance).line)
        }
    }

    static func outcome(of instance: ScenarioCase) async -> Outcome {
        guard let scenario = Scenario.named(instance.scenario) else {
            return .failed("there is no scenario \(instance.scenario)")
        }
        do {
            let result = try await scenario.run(instance)
            let (seconds, attoseconds) = result.elapsed.components
            return .passed(
                nanoseconds: UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000,
                steps: result.steps, hash: result.traceHash)
        } catch {
            return .failed("\(error)")
        }
    }
}
