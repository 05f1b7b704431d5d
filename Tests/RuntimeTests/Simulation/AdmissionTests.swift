import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What a node takes on, and what not.
@Suite struct AdmissionTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let waiting = Workflow("waiting", version: 1) {
        (seconds: Int, context: WorkflowContext) async throws -> Int in
        try await context.sleep(for: .seconds(seconds))
        return seconds
    }
    private static let other = Workflow("other", version: 1) { (_: Int, _: WorkflowContext) in 1 }

    @Test("starts above a limit change nothing and are refused by name, and one that was taken before is found")
    func state() throws {
        var bench = Bench()
        let newer = WorkflowType("w", version: 2)
        try bench.apply([Bench.register(1, [Bench.type, newer, WorkflowType("v", version: 1)])])
        func start(_ id: String, _ type: WorkflowType = Bench.type, all: UInt64 = 0, ofType: UInt64 = 0)
            -> WorkflowOperation
        {
            guard case .startRun(var start) = Bench.start(id, type, run: UInt64(id.utf8.first ?? 0)) else {
                preconditionFailure("no start")
            }
            (start.runLimit, start.typeLimit) = (all, ofType)
            return .startRun(start)
        }
        #expect(try bench.apply([start("a", ofType: 1)]).refusal == nil)
        let hash = bench.machine.stateHash
        #expect(try bench.apply([start("b", ofType: 1)]).refusal == .overLimit)
        #expect(try bench.apply([start("b", newer, ofType: 1)]).refusal == .overLimit)
        #expect(try bench.apply([start("b", all: 1)]).refusal == .overLimit)
        // Together they would be too many.
        #expect(try bench.apply([start("b", ofType: 2), start("c", newer, ofType: 2)]).refusal == .overLimit)
        #expect(try bench.apply([start("b", all: 2), start("c", all: 2)]).refusal == .overLimit)
        #expect(bench.machine.stateHash == hash)
        #expect(try bench.apply([start("a", all: 1, ofType: 1)]).result?.wasDone == true)
        #expect(try bench.apply([start("b", WorkflowType("v", version: 1), ofType: 1)]).refusal == nil)
        try bench.apply([.finishRun(Bench.address("a", run: 97), .success([]))], epoch: 1)
        #expect(try bench.apply([start("c", ofType: 1)]).refusal == nil)
        let operation = start("d", all: 3, ofType: 4)
        #expect(try WorkflowOperation(operation.encoded) == operation)
    }

    @Test("the gate counts requests and bytes, lets a large one in alone, and frees what has ended, also by an error")
    func gate() async throws {
        var limits = AdmissionLimits()
        (limits.requests, limits.requestBytes) = (2, 100)
        let gate = AdmissionGate(limits)
        func refused(_ bytes: Int) async -> WorkflowError? {
            do {
                try await gate.admit(bytes) {}
                return nil
            } catch { return error as? WorkflowError }
        }
        try await gate.admit(1_000) {
            #expect(gate.load == .init(requests: 1, bytes: 1_000))
            #expect(await refused(1)?.code == .overloaded)
        }
        try await gate.admit(60) {
            #expect(await refused(41)?.retryAfter == .seconds(1))
            try await gate.admit(40) { #expect(await refused(0)?.code == .overloaded) }
            #expect(await refused(40) == nil)
        }
        struct Failure: Error {}
        await #expect(throws: Failure.self) { try await gate.admit(5) { throw Failure() } }
        #expect(gate.load == .init(requests: 0, bytes: 0, refused: 3))
    }

    @Test("the gate refuses what is new while the process takes more memory than it may, and looks again soon")
    func memory() async throws {
        var limits = AdmissionLimits()
        limits.memoryBytes = 512 << 20
        let used = Lock(0)
        let now = Lock(MonotonicTime(nanoseconds: 0))
        func pass() { now.withLock { $0 = $0.advanced(by: .milliseconds(20)) } }
        let gate = AdmissionGate(limits, now: { now.withLock { $0 } }, memory: { used.withLock { $0 } })
        try await gate.admit(1) {}
        used.withLock { $0 = 600 << 20 }
        // As of the last look it may.
        try await gate.admit(1) {}
        pass()
        let error = await #expect(throws: WorkflowError.self) { try await gate.admit(1) {} }
        #expect(error?.code == .overloaded && error?.retryAfter == .seconds(1))
        #expect(error?.message.contains("takes 600 MiB of memory, and takes on nothing more above 512 MiB") == true)
        used.withLock { $0 = 500 << 20 }
        pass()
        try await gate.admit(1) {}
        #expect(gate.load.requests == 0 && gate.load.refused == 1)
    }

    @Test("limits below 1 are refused by name when the node starts")
    func configuration() {
        for change: (inout AdmissionLimits) -> Void in [
            { $0.workflows = 0 }, { $0.requests = 0 }, { $0.requestBytes = -1 }, { $0.memoryBytes = 0 },
            { $0.workflowsByType["a"] = 0 },
        ] {
            var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .memory)
            change(&configuration.admission)
            #expect(throws: NodeError.self) { try configuration.validate() }
        }
    }

    @Test(
        "a limit holds for starts that come at once by all nodes, whenever one crashes, and lets others in behind ends",
        arguments: Moment.allCases)
    func limits(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                snapshotOften(&configuration)
                configuration.admission.workflowsByType = ["waiting": 5]
            }
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.waiting, Self.other], configure: configure
            ) { simulation in
                let taken = Collector<String>()
                func start(_ ids: ClosedRange<Int>) async throws {
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for id in ids {
                            group.addTask {
                                do {
                                    try await simulation.submit(Self.waiting, id: "w\(id)", input: 20)
                                    await taken.add("w\(id)")
                                } catch let error as WorkflowError where error.code == .tooManyWorkflows {
                                    #expect(error.retryAfter != nil)
                                }
                            }
                        }
                        if moment == .during {
                            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(20)))
                            simulation.crash(2, dropUnsynced: true)
                        }
                        try await group.waitForAll()
                    }
                }
                if moment == .before { simulation.crash(2, dropUnsynced: true) }
                try await start(1...20)
                if moment == .after { simulation.crash(2, dropUnsynced: true) }
                #expect(await taken.items.count == 5, "seed \(seed)")
                #expect(try await simulation.ask { try await $0.count() }.total == 5, "seed \(seed)")
                // Other types have room, and what was taken is found again.
                #expect(try await simulation.submit(Self.other, id: "o", input: 0).result() == 1)
                let known = await taken.items[0]
                #expect(try await simulation.submit(Self.waiting, id: known, input: 20).result() == 20)
                simulation.restart(2)
                try await simulation.runUntilComplete()
                if moment == .during { await simulation.advance(by: .seconds(1)) }
                let before = await taken.items.count
                let more = try await simulation.submit(Self.waiting, id: "later", input: 1)
                #expect(try await more.result() == 1 && before == 5)
                try await simulation.untilConverged()
            }
        }
    }
}
