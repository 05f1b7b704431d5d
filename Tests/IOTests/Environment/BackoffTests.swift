import FlotillaIO
import Testing

@Suite struct BackoffTests {
    @Test("waits double from the shortest to the longest, each between half and all of it")
    func doubling() {
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        var backoff = Backoff()
        var ceiling = Backoff.delayMin
        for _ in 0..<100 {
            let wait = backoff.next(using: &random)
            #expect(wait <= ceiling && wait * 2 >= ceiling, "seed \(seed)")
            ceiling = min(ceiling * 2, Backoff.delayMax)
        }
        #expect(ceiling == Backoff.delayMax)
    }
}
