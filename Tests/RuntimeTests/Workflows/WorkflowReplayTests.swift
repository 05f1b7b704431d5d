import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Replaying commands", .timeLimit(.minutes(5)))
struct WorkflowReplayTests {
    @Test(
        "TT-12: commands replayed from the log or from a snapshot and the log's rest give the same state"
    )
    func replay() throws {
        let seed = Simulation.seeds(1)[0]
        var generator = SeededGenerator(seed: seed)
        var (applied, refused) = (0, 0)
        for round in 0..<30 {
            var bench = Bench()
            var snapshot: (position: Int, bytes: [UInt8])?
            let snapshotAt = Int.random(in: 0..<400, using: &generator)
            for position in 0..<400 {
                if position == snapshotAt {
                    snapshot = (position, bench.machine.snapshotView().serialize())
                }
                bench.time += Int64.random(in: 0..<20, using: &generator)
                let (operations, epoch) = randomCommand(bench.machine, &generator)
                if case .applied = try bench.apply(operations, epoch: epoch) {
                    applied += 1
                } else {
                    refused += 1
                }
                if let wrong = bench.machine.state.check() {
                    Issue.record(
                        "seed \(seed), round \(round), command \(position): \(wrong)")
                    return
                }
            }
            let whole = WorkflowStateMachine()
            let rest = WorkflowStateMachine()
            if let snapshot { try rest.restore(snapshot.bytes, formatVersion: WorkflowStateMachine.formatVersion) }
            for (position, (command, time)) in bench.log.enumerated() {
                let index = LogIndex(UInt64(position) + 1)
                let answer = try whole.apply(command, at: index, time: time)
                guard position >= snapshotAt else { continue }
                let again = try rest.apply(command, at: index, time: time)
                #expect(
                    answer == again, "seed \(seed), round \(round), command \(position)")
            }
            #expect(
                whole.stateHash == bench.machine.stateHash, "seed \(seed), round \(round)")
            #expect(
                rest.stateHash == bench.machine.stateHash, "seed \(seed), round \(round)")
        }
        #expect(
            applied > 3000 && refused > 1000,
            "seed \(seed): \(applied) applied, \(refused) refused")
    }

    private func randomCommand(
        _ machine: WorkflowStateMachine, _ generator: inout SeededGenerator
    ) -> ([WorkflowOperation], UInt64) {
        let id = "id\(Int.random(in: 0..<40, using: &generator))"
        let address =
            machine.run(id).map { RunAddress(workflowID: id, runID: $0.runID) } ?? Bench.address(id)
        let epoch =
            (machine.run(id)?.epoch ?? 0) + (Int.random(in: 0..<10, using: &generator) == 0 ? 1 : 0)
        let key = StepKey(
            ["a", "b"].randomElement(using: &generator) ?? "a",
            .random(in: 0..<3, using: &generator))
        let types = (1...3).map { WorkflowType("w", version: $0) }
        let count =
            Int.random(in: 0..<5, using: &generator) == 0
            ? Int.random(in: 0...4, using: &generator) : 1
        let operations = (0..<count).map { _ -> WorkflowOperation in
            switch Int.random(in: 0..<16, using: &generator) {
            case 0...2:
                let type = types.randomElement(using: &generator) ?? Bench.type
                return Bench.start(
                    id, type, run: .random(in: 0..<3, using: &generator),
                    input: "\(Int.random(in: 0..<2, using: &generator))")
            case 3...5:
                return .recordStep(
                    address, key, value: [.random(in: 0...9, using: &generator)],
                    keeping: .random(in: 0...2, using: &generator))
            case 6:
                return .startTimer(address, key, .after(.random(in: -5..<50, using: &generator)))
            case 7: return .startTimer(address, key, .at(.random(in: 0..<2000, using: &generator)))
            case 8...9: return .fireTimer(address, key)
            case 10...11:
                return .setCheckpoint(address, key, value: [.random(in: 0...9, using: &generator)])
            case 12:
                let isSuccess = Bool.random(using: &generator)
                return .finishRun(
                    address,
                    isSuccess ? .success([1]) : .failure(WorkflowFailure(type: "E", message: "m")))
            case 13...14:
                let kept = types.filter { _ in Bool.random(using: &generator) }
                return Bench.register(
                    .random(in: 1...4, using: &generator),
                    boot: .random(in: 1...4, using: &generator), kept)
            default:
                let node = NodeID(.random(in: 1...4, using: &generator))
                return .loseExecutor(
                    node: node, registration: machine.state.executors[node]?.registration ?? 0)
            }
        }
        return (operations, epoch)
    }
}
