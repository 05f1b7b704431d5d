import FlotillaIO
import FlotillaScenarios
import FlotillaSimulation

/// The histories whose trace hashes are recorded.
enum Hashes {
    static func check() async throws {
        let recorded = try RecordFile.hashes.text()
        for instance in RecordedHashes.cases {
            try RecordedHashes.check(instance, try await hash(of: instance), in: recorded)
        }
        Terminal.writeLine("The trace hashes of \(RecordedHashes.cases.count) histories are the recorded ones.")
    }

    static func record() async throws {
        var hashes: [(ScenarioCase, UInt64)] = []
        for instance in RecordedHashes.cases { hashes.append((instance, try await hash(of: instance))) }
        try RecordFile.hashes.write(RecordedHashes.text(hashes))
        Terminal.writeLine("The trace hashes of \(hashes.count) histories are recorded.")
    }

    private static func hash(of instance: ScenarioCase) async throws -> UInt64 {
        guard let scenario = Scenario.named(instance.scenario) else {
            throw ExplorerError("there is no scenario \(instance.scenario)")
        }
        return try await scenario.run(instance).traceHash
    }
}
