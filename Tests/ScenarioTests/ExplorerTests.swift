import FlotillaIO
import Testing

@testable import FlotillaExplorer
@testable import FlotillaScenarios

@Suite struct ExplorerTests {
    private func plan(_ words: String...) throws -> Plan {
        try Plan(try #require(try FlotillaSimulate.command.parse(words)))
    }

    @Test("every seed's turn is that of every scenario")
    func cases() throws {
        let plan = try plan("--seeds", "2", "--start", "7")
        let expected = [UInt64(7), 8].flatMap { seed in Scenario.usual.map { ScenarioCase($0.name, seed: seed) } }
        #expect(Array(plan.cases) == expected)
        #expect(plan.count == expected.count)
    }

    @Test("a replay's words make the case again that failed")
    func replay() throws {
        let plan = try plan("--scenario", "registers", "--start", "7", "--load", "20", "--faults", "3,9")
        let instance = ScenarioCase("registers", seed: 7, load: 20, faults: [3, 9])
        #expect(Array(plan.cases) == [instance])
        #expect(
            Plan.replay(instance) == "make simulate SCENARIO=registers START=7 SEEDS=1 LOAD=20 FAULTS=3,9 TRACE=1")
        #expect(
            Plan.replay(ScenarioCase("workflows", seed: 1))
                == "make simulate SCENARIO=workflows START=1 SEEDS=1 TRACE=1")
    }

    @Test(
        "words that make no sense are refused",
        arguments: [["--scenario", "x"], ["--seeds", "0"], ["--faults", "1,x"], ["--trace"], ["--load", "61"]])
    func usage(words: [String]) throws {
        #expect(throws: UsageError.self) { try Plan(try #require(try FlotillaSimulate.command.parse(words))) }
    }

    @Test("an outcome is told as one line, whatever the message, and understood again")
    func outcomes() {
        for outcome in [
            Outcome.passed(nanoseconds: 60_000_000_000, steps: 12, hash: .max), .failed("one\ntwo"), .failed(""),
        ] {
            #expect(!outcome.line.contains("\n"))
            #expect(Outcome(line: outcome.line) == outcome)
        }
        #expect(Outcome(line: "Fatal error") == nil)
    }
}
