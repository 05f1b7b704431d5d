import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Composing workflows", .timeLimit(.minutes(5)))
struct CompositionTests {
    private struct Broken: Error {}

    private func pair(
        _ cluster: TestCluster, _ workflows: [any RegisterableWorkflow]
    ) async throws -> (TestNode, TestNode) {
        let first = try cluster.start(1, workflows)
        try await first.until { !$0.executors.isEmpty }
        let second = try cluster.start(2, workflows)
        try await first.until { $0.executors.count == 2 }
        return (first, second)
    }

    // MARK: Compensation

    enum Moment: CaseIterable { case beforeRecord, afterRecord }

    /// Books four things, of which the last fails or waits to be cancelled.
    private static func trip(_ ledger: Ledger, fails: Bool) -> Workflow<Int, Int> {
        Workflow("trip", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.compensating { scope in
                for name in ["car", "hotel", "flight"] {
                    try await context.step(name) { ledger.append(name, $0) }
                    scope.undo("undo \(name)") { ledger.append("undo \(name)", $0) }
                }
                if fails { try await context.step("pay") { _ in throw Broken() } }
                try await context.sleep(for: .seconds(3600))
                return 1
            }
        }
    }

    @Test(
        "what was done is undone in reverse, each once, whichever owner goes on", arguments: 0...2, Moment.allCases)
    func compensation(position: Int, moment: Moment) async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let undone = ["undo flight", "undo hotel", "undo car"]
            let workflow = Self.trip(ledger, fails: true)
            let (first, second) = try await pair(cluster, [workflow])
            cluster.setFault { node, operation in
                guard node == first.node, case .recordStep(_, let step, _, _, _) = operation,
                    step.name.text == undone[position]
                else { return nil }
                return moment == .beforeRecord ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            let error = await #expect(throws: WorkflowError.self) {
                try await second.engine.result(of: "a", as: Int.self)
            }
            #expect(error?.failure?.type == "Broken")
            let recorded = try await second.engine.describe("a").steps.map(\.name)
            #expect(recorded == ["car", "hotel", "flight"] + undone)
            for (index, name) in undone.enumerated() {
                let isRepeated = index == position && moment == .beforeRecord
                #expect(ledger.count(of: name) == (isRepeated ? 2 : 1), "\(name)")
            }
        }
    }

    @Test("a run that is cancelled undoes what it did and ends as cancelled")
    func cancelled() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Self.trip(ledger, fails: false)
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(workflow, id: "a", input: 0)
            try await node.until { $0.run("a")?.timers.count == 1 }
            try await node.engine.control("a", .cancel)
            let error = await #expect(throws: WorkflowError.self) {
                try await node.engine.result(of: "a", as: Int.self)
            }
            #expect(error?.code == .cancelled)
            #expect(ledger.effects.map(\.name) == ["car", "hotel", "flight", "undo flight", "undo hotel", "undo car"])
        }
    }

    @Test("a cancellation that comes while something is undone does not keep it from being undone")
    func cancelledMeanwhile() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let (begun, mayGoOn) = (Promise<Void>(), Promise<Void>())
            let workflow = Workflow("late", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.compensating { scope in
                    scope.undo("first") { ledger.append("first", $0) }
                    scope.undo("second") { ledger.append("second", $0) }
                    scope.undo("third") { step in
                        begun.fulfill(())
                        try await mayGoOn.wait()
                        ledger.append("third", step)
                    }
                    throw Broken()
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(workflow, id: "a", input: 0)
            try await begun.wait()
            try await node.engine.control("a", .cancel)
            try await node.until { $0.run("a")?.cancellation != nil }
            mayGoOn.fulfill(())
            _ = try await node.engine.outcome(of: "a")
            #expect(ledger.effects.map(\.name) == ["third", "second", "first"])
        }
    }

    @Test("an undo step whose policy gives up is named, and the others run")
    func givesUp() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("stuck", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.compensating { scope in
                    scope.undo("first") { ledger.append("first", $0) }
                    scope.undo("second", retry: RetryPolicy(attempts: 1)) { _ in throw Broken() }
                    throw WorkflowError(.invalidInput, "why")
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(workflow, id: "a", input: 0)
            let error = await #expect(throws: WorkflowError.self) {
                try await node.engine.result(of: "a", as: Int.self)
            }
            #expect(error?.failure?.type == "WorkflowError.compensationFailed")
            #expect(error?.failure?.message.contains("why") == true && ledger.count(of: "first") == 1)
        }
    }

    // MARK: Versions

    @Test("a run that passed before there was a change does not take it, later ones do, and each keeps its answer")
    func patches() async throws {
        try await withCluster { cluster in
            func body(isNew: Bool) -> Workflow<Int, [Bool]> {
                Workflow("changing", version: 1) { (_: Int, context: WorkflowContext) async throws -> [Bool] in
                    var answers: [Bool] = []
                    _ = try await context.step("one") { _ in 1 }
                    if isNew { answers.append(try await context.patched("early")) }
                    _ = try await context.step("two") { _ in 2 }
                    try await context.sleep(for: .seconds(60))
                    if isNew {
                        answers.append(try await context.patched("late"))
                        answers.append(try await context.patched("early"))
                    }
                    try await context.sleep(for: .seconds(60))
                    return answers
                }
            }
            let (old, new) = (body(isNew: false), body(isNew: true))
            let first = try cluster.start(1, [old])
            try await first.until { !$0.executors.isEmpty }
            _ = try await first.engine.start(old, id: "a", input: 0)
            try await first.until { $0.run("a")?.timers.count == 1 }
            let second = try cluster.start(2, [new])
            try await second.until { $0.executors.count == 2 }
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(61))
            try await second.until { $0.run("a")?.timers.count == 2 }
            _ = try await second.engine.start(new, id: "b", input: 0)
            try await second.until { $0.run("b")?.timers.count == 1 }
            let third = try cluster.start(3, [new])
            try await third.until { $0.executors.count == 3 }
            second.die()
            try await cluster.lose(second, noticedBy: third)
            cluster.clock.advance(by: .seconds(61))
            #expect(try await third.engine.result(of: "a", as: [Bool].self) == [false, true, false])
            try await third.until { $0.run("b")?.timers.count == 2 }
            cluster.clock.advance(by: .seconds(61))
            #expect(try await third.engine.result(of: "b", as: [Bool].self) == [true, true, true])
            for id in ["a", "b"] {
                try await replay(history: try await third.engine.wholeHistory(of: id), against: new)
            }
        }
    }

    @Test("versions say which live nodes have them and how many runs need them")
    func versions() throws {
        var bench = Bench()
        let types = [WorkflowType("w", version: 1), WorkflowType("w", version: 2)]
        try bench.apply([Bench.register(1, [types[0]])])
        try bench.apply([Bench.register(2, types)])
        for number in 0..<4 { try bench.apply([Bench.start("a\(number)", types[0], run: UInt64(number))]) }
        try bench.apply([Bench.start("b", types[1], run: 9)])
        try bench.apply([.controlRun(workflowID: "b", .pause, reason: "")])
        try bench.apply([.controlRun(workflowID: "a0", .terminate, reason: "")])
        try bench.apply([.loseExecutor(node: NodeID(2), registration: 1)])
        let versions = bench.machine.state.versions
        #expect(versions.map(\.version) == [1, 2] && versions.map(\.nodes) == [[NodeID(1)], []])
        #expect(versions.map(\.running) == [3, 0] && versions.map(\.paused) == [0, 1])
        #expect(versions.map(\.isUnused) == [false, false])
        try bench.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        #expect(bench.machine.state.versions.map(\.parked) == [3, 0])
        #expect(bench.machine.state.check() == nil)
    }
}
