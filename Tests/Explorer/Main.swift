import FlotillaIO
import FlotillaScenarios
import FlotillaSimulation

@main
enum FlotillaSimulate {
    static func main() async {
        for seed: UInt64 in 1...20 {
            let start = ContinuousClock.now
            do {
                let result = try await Scenario.registers.run(ScenarioCase(seed: seed))
                Terminal.writeLine("\(seed) \(result.elapsed) \(result.steps) \(result.traceHash) \(ContinuousClock.now - start)")
            } catch {
                Terminal.writeLine("\(seed) \(error)")
            }
        }
    }
}
