import FlotillaSimulation
import Testing

@testable import FlotillaScenarios

/// The scenarios on a few seeds that are always the same; `make simulate` looks for new ones. FLOTILLA_SEED replays one.
@Suite struct ScenarioTests {
    private func check(_ scenario: Scenario, _ seed: UInt64) async {
        do {
            _ = try await scenario.run(ScenarioCase(scenario.name, seed: seed))
        } catch {
            Issue.record("make simulate SCENARIO=\(scenario.name) START=\(seed) SEEDS=1: \(error)")
        }
    }

    @Test(
        "registers on every node: linearizable under faults, acknowledged writes survive",
        arguments: Simulation.seeds(12))
    func registers(seed: UInt64) async { await check(.registers, seed) }

    @Test(
        "TT-56: whole nodes under faults: acknowledged runs complete, each recorded step ran once",
        arguments: Simulation.seeds(3))
    func workflows(seed: UInt64) async { await check(.workflows, seed) }

    @Test(
        "workflows that are tied to each other under faults: children, signals and firings count once, all parents end",
        arguments: Simulation.seeds(1))
    func compositions(seed: UInt64) async { await check(.compositions, seed) }

    @Test("CE-36: cases that have failed before pass")
    func regressions() async throws {
        for regression in try Regression.list() {
            do {
                _ = try await Scenario.named(regression.instance.scenario)!.run(regression.instance)
            } catch {
                Issue.record("'\(regression.instance)' (\(regression.reason)) fails again: \(error)")
            }
        }
    }

    @Test("CE-27: one seed is one history, here and in every other process and build: the recorded trace hashes")
    func traceHashes() async throws {
        let recorded = try RecordFile.hashes.text()
        for instance in RecordedHashes.cases {
            let result = try await Scenario.named(instance.scenario)!.run(instance)
            try RecordedHashes.check(instance, result.traceHash, in: recorded)
        }
    }

    @Test("a scenario that is over before its load fails")
    func endsEarly() async {
        var scenario = Scenario.registers
        scenario.body = { run in try await run.world.sleep(for: .seconds(59)) }
        await #expect(throws: ScenarioFailure.self) {
            _ = try await scenario.run(ScenarioCase(scenario.name, seed: 1))
        }
    }

    @Test("what a scenario finds wrong is what it throws")
    func failures() async {
        var scenario = Scenario.registers
        scenario.body = { _ in throw ScenarioFailure("wrong") }
        await #expect(throws: ScenarioFailure("wrong")) {
            _ = try await scenario.run(ScenarioCase(scenario.name, seed: 1))
        }
    }
}

@Suite struct RecordTests {
    @Test("a case is told as one line, and understood again")
    func cases() {
        let all = ScenarioCase("registers", seed: 17)
        #expect(all.description == "registers 17 60 all")
        let some = ScenarioCase("workflows", seed: 0, load: 20, faults: [3, 12])
        #expect(some.description == "workflows 0 20 3,12")
        let none = ScenarioCase("workflows", seed: 1, load: 1, faults: [])
        for instance in [all, some, none] { #expect(ScenarioCase(instance.description) == instance) }
        for text in ["", "registers 17 60", "registers x 60 all", "registers 1 0 all", "registers 1 60 1,,2"] {
            #expect(ScenarioCase(text) == nil, "'\(text)'")
        }
    }

    @Test("the regression list holds cases with their reasons, and names a line that is none")
    func regressionList() throws {
        let list = try Regression.list(in: "# comment\n\nregisters 17 60 all # lost a write\n")
        #expect(list == [Regression(instance: ScenarioCase("registers", seed: 17), reason: "lost a write")])
        for text in ["registers 17 60 all\n", "nothing 17 60 all # no scenario\n", "registers 17 # short\n"] {
            #expect(throws: ScenarioFailure.self) { try Regression.list(in: text) }
        }
    }

    @Test("a hash that is not the recorded one is refused")
    func hashes() throws {
        let instance = ScenarioCase("registers", seed: 1)
        let text = RecordedHashes.text([(instance, 0xABC)])
        try RecordedHashes.check(instance, 0xABC, in: text)
        #expect(throws: ScenarioFailure.self) { try RecordedHashes.check(instance, 0xABD, in: text) }
        #expect(throws: ScenarioFailure.self) {
            try RecordedHashes.check(ScenarioCase("registers", seed: 2), 0xABC, in: text)
        }
    }
}
