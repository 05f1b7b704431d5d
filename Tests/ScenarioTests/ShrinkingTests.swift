import Testing

@testable import FlotillaScenarios

@Suite struct ShrinkingTests {
    /// Two faults a second, numbered from 0.
    private func faults(_ load: Int) -> [Int] { Array(0..<2 * load) }

    private func shortest(runs: Int = 1_000, _ isFailing: (ScenarioCase) -> Bool) -> ScenarioCase {
        Shrinking.shortest(of: ScenarioCase("registers", seed: 5), faults: faults, runs: runs, isFailing: isFailing)
    }

    @Test("only the faults are left that a failure needs, and no more load than that")
    func needed() {
        let best = shortest { instance in
            let kept = Set(instance.faults ?? faults(instance.load))
            return instance.load >= 9 && kept.isSuperset(of: [3, 11, 12])
        }
        #expect(best == ScenarioCase("registers", seed: 5, load: 10, faults: [3, 11, 12]))
    }

    @Test("a failure that needs no fault is left with none")
    func none() {
        #expect(shortest { _ in true } == ScenarioCase("registers", seed: 5, load: 1, faults: []))
    }

    @Test("what is left has failed itself, also when there are too few runs to get far")
    func bounded() {
        var tried = 0
        var failed: Set<ScenarioCase> = []
        let best = shortest(runs: 20) { instance in
            tried += 1
            let fails = (instance.faults ?? faults(instance.load)).contains(77)
            if fails { failed.insert(instance) }
            return fails
        }
        #expect(tried == 20)
        #expect(failed.contains(best))
    }
}
