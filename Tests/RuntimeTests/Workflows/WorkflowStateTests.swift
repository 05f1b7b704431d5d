import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("The replicated state of workflows", .timeLimit(.minutes(5)))
struct WorkflowStateTests {
    @Test("a stale owner is refused, whatever it wants to record, also while the run is parked")
    func staleOwner() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        let step = StepKey("s", 0)
        let address = Bench.address("a")
        let operations: [WorkflowOperation] = [
            .recordStep(address, step, value: [1]), .startTimer(address, step, .after(5)),
            .fireTimer(address, step),
            .setCheckpoint(address, step, value: [1]), .finishRun(address, .success([1])),
        ]
        func expectAllRefused(_ epochs: [UInt64], as refusal: WorkflowRefusal = .staleOwner) throws {
            let hash = bench.machine.stateHash
            for operation in operations {
                for epoch in epochs {
                    #expect(try bench.apply([operation], epoch: epoch).refusal == refusal)
                }
            }
            #expect(bench.machine.stateHash == hash)
        }
        try expectAllRefused([0, 2])
        try bench.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        try expectAllRefused([0, 1, 2])
        try bench.apply([Bench.register(2)])
        try expectAllRefused([0, 1, 3])
        #expect(try bench.apply([operations[0]], epoch: 2).result == OperationResult())
        #expect(
            try bench.apply([.recordStep(address, step, value: [9])], epoch: 2).result?
                .recordedValue == [1])
        try bench.apply([operations[4]], epoch: 2)
        try expectAllRefused([2], as: .runEnded)
        try expectAllRefused([1])
        #expect(
            try bench.apply([.recordStep(Bench.address("a", run: 9), step, value: [])], epoch: 2)
                .refusal == .noSuchRun)
        #expect(
            try bench.apply([.recordStep(Bench.address("b"), step, value: [])], epoch: 2).refusal
                == .noSuchRun)
    }

    @Test("a command is applied whole or not at all")
    func atomic() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        let address = Bench.address("a")
        let hash = bench.machine.stateHash
        let answer = try bench.apply(
            [
                Bench.start("b", run: 2), .recordStep(address, StepKey("s", 0), value: [1]),
                .finishRun(address, .success([])),
                .recordStep(address, StepKey("s", 1), value: [1]),
            ], epoch: 1)
        #expect(answer.refusal == .runEnded)
        #expect(bench.machine.stateHash == hash)
        #expect(bench.machine.state.check() == nil)
        let all = try bench.apply(
            [
                .recordStep(address, StepKey("s", 0), value: [1]),
                .startTimer(address, StepKey("t", 0), .at(500)),
                .fireTimer(address, StepKey("t", 0)), .finishRun(address, .success([])),
            ], epoch: 1)
        guard case .applied(let results) = all else {
            Issue.record("refused: \(all)")
            return
        }
        #expect(results.count == 4 && results[1].deadline == 500)
        #expect(bench.machine.run("a")?.status == .completed)
    }

    @Test("a list of operations is checked against what its earlier ones made")
    func atomicChain() throws {
        var bench = Bench()
        let (address, step) = (Bench.address("a"), StepKey("s", 0))
        let answer = try bench.apply(
            [Bench.register(1), Bench.start("a"), .recordStep(address, step, value: [1])], epoch: 1)
        #expect(answer.refusal == nil)
        let hash = bench.machine.stateHash
        let lost = try bench.apply(
            [
                .loseExecutor(node: NodeID(1), registration: 1),
                .recordStep(address, StepKey("s", 1), value: [1]),
            ],
            epoch: 1)
        #expect(lost.refusal == .staleOwner)
        #expect(
            try bench.apply([Bench.start("b"), Bench.start("b", input: "2")]).refusal == .conflict)
        #expect(bench.machine.stateHash == hash)
        #expect(try bench.apply([]) == .applied([]))
    }

    @Test("a timer fires at its time and not before, and once")
    func timers() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        let (address, timer) = (Bench.address("a"), StepKey("t", 0))
        #expect(try bench.apply([.fireTimer(address, timer)], epoch: 1).refusal == .noSuchTimer)
        #expect(
            try bench.apply([.startTimer(address, timer, .after(50))], epoch: 1).result?.deadline
                == 1050)
        bench.time = 1049
        #expect(
            try bench.apply([.startTimer(address, timer, .after(50))], epoch: 1).result?.deadline
                == 1050)
        #expect(try bench.apply([.fireTimer(address, timer)], epoch: 1).refusal == .notYet)
        bench.time = 1050
        #expect(try bench.apply([.fireTimer(address, timer)], epoch: 1).result?.wasDone == false)
        #expect(try bench.apply([.fireTimer(address, timer)], epoch: 1).result?.wasDone == true)
        #expect(
            try bench.apply([.startTimer(address, StepKey("u", 0), .after(.max))], epoch: 1).result?
                .deadline == .max)
    }

    @Test(
        "runs go to the live capable node with the fewest, and a lost node's are spread over the rest"
    )
    func assignment() throws {
        var bench = Bench()
        let other = WorkflowType("other", version: 1)
        try bench.apply([Bench.register(2)])
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.register(3)])
        try bench.apply([Bench.register(4, [other])])
        for number in 0..<9 { try bench.apply([Bench.start("a\(number)")]) }
        #expect(bench.machine.executors.map(\.ownedRuns) == [3, 3, 3, 0])
        #expect(bench.machine.run("a0")?.owner == NodeID(1))
        #expect(bench.machine.run("a1")?.owner == NodeID(2))
        try bench.apply([.loseExecutor(node: NodeID(2), registration: 2)])
        #expect(
            bench.machine.executors.map(\.ownedRuns) == [3, 3, 3, 0],
            "a loss of another registration")
        try bench.apply([.loseExecutor(node: NodeID(2), registration: 1)])
        #expect(bench.machine.executors.map(\.ownedRuns) == [5, 0, 4, 0])
        #expect(bench.machine.run("a1")?.epoch == 2 && bench.machine.run("a0")?.epoch == 1)
        try bench.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        try bench.apply([.loseExecutor(node: NodeID(3), registration: 1)])
        #expect(bench.machine.count(of: .parked) == 9)
        #expect(try bench.apply([Bench.register(2, boot: 1)]).result?.registration == 2)
        #expect(bench.machine.executors.map(\.ownedRuns) == [0, 9, 0, 0])
        #expect(try bench.apply([Bench.register(2, boot: 1)]).result?.wasDone == true)
        let epoch = bench.machine.run("a0")?.epoch ?? 0
        #expect(try bench.apply([Bench.register(2, boot: 2)]).result?.registration == 3)
        #expect(bench.machine.run("a0")?.epoch == epoch + 1)
        #expect(try bench.apply([Bench.register(2, boot: 1)]).refusal == .staleExecutor)
        #expect(bench.machine.state.check() == nil)
    }

    @Test(
        "an operation, a version or a field of a newer binary stops the group, and nothing of it is applied"
    )
    func unknown() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        let hash = bench.machine.stateHash
        let good = Bench.start("a").encoded
        var extended = ProtobufWriter()
        extended.varint(99, 1)
        let cases: [(ApplyError.Code, Operation)] = [
            (.unknownCommand, Operation(type: 99, version: 1, body: [])),
            (.unknownVersion, Operation(type: 1, version: 2, body: good.body)),
            (.unknownField, Operation(type: 1, version: 1, body: good.body + extended.bytes)),
            (.unknownField, Operation(type: 8, version: 1, body: extended.bytes)),
            (.damagedCommand, Operation(type: 1, version: 1, body: Array(good.body.dropLast()))),
            (.damagedCommand, Operation(type: 2, version: 1, body: [])),
        ]
        for (code, operation) in cases {
            let request = RequestID(
                client: RequestID.Client(replica: ReplicaID(NodeID(1).rawValue), boot: 1), sequence: 1,
                acknowledgedBelow: 0)
            let command = Command(
                kind: .workflow, request: request, timestamp: 1, operations: [good, operation])
            let error = #expect(throws: ApplyError.self) {
                try bench.machine.apply(command, at: LogIndex(9), time: 1)
            }
            #expect(error?.code == code, "\(operation)")
        }
        #expect(bench.machine.stateHash == hash)
        #expect(throws: ApplyError.self) {
            try bench.machine.restore([], formatVersion: WorkflowStateMachine.formatVersion + 1)
        }
        #expect(throws: ApplyError.self) {
            try bench.machine.restore(extended.bytes, formatVersion: WorkflowStateMachine.formatVersion)
        }
        #expect(bench.machine.stateHash == hash)
    }

    @Test("every operation comes out of its encoding as it went in")
    func encoding() throws {
        let (address, key) = (Bench.address("a"), StepKey("s", 3))
        let operations: [WorkflowOperation] = [
            Bench.start("a"), Bench.start("", input: ""),
            Bench.register(1, boot: 9, [Bench.type, WorkflowType("", version: 0)]),
            .recordStep(address, key, value: []),
            .recordStep(address, key, value: [1], StepEffort(attempt: 3, duration: 17)),
            .recordFailure(
                address, key,
                StepFailure(
                    failure: WorkflowFailure(type: "a", message: "b"), effort: StepEffort(attempt: 2, duration: 9),
                    delay: 5)),
            .recordFailure(
                address, key, StepFailure(failure: WorkflowFailure(type: "", message: ""), effort: StepEffort())),
            .recordFailure(
                address, key,
                StepFailure(
                    failure: WorkflowFailure(type: "", message: ""), effort: StepEffort(), delay: 1, progress: [])),
            .recordProgress(address, key, attempt: 3, value: [4, 5]),
            .finishRun(address, .cancelled), .controlRun(workflowID: "a", .pause, reason: "b"),
            .pruneRun(workflowID: "a"), .pruneFinished(keeping: .forever, limit: 0),
            .pruneFinished(keeping: WorkflowRetention(age: .zero, count: 0), limit: 7),
            .startTimer(address, key, .after(0)), .startTimer(address, key, .at(-5)),
            .fireTimer(address, key),
            .setCheckpoint(address, key, value: [2]), .finishRun(address, .success([])),
            .finishRun(address, .failure(WorkflowFailure(type: "", message: ""))),
            .finishRun(address, .failure(WorkflowFailure(type: "a", message: "b"))),
            .loseExecutor(node: NodeID(0), registration: 3),
        ]
        for operation in operations {
            #expect(try WorkflowOperation(operation.encoded) == operation)
        }
    }

    @Test("a snapshot's view keeps its moment while commands go on, and restores to the same state")
    func snapshots() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        for number in 0..<200 { try bench.apply([Bench.start("a\(number)")]) }
        for number in 0..<200 {
            for step in 0..<UInt64(number) {
                try bench.apply(
                    [.recordStep(Bench.address("a\(number)"), StepKey("s", step), value: [1])],
                    epoch: 1)
            }
        }
        let view = bench.machine.snapshotView()
        let before = view.serialize()
        let hash = bench.machine.stateHash
        for number in 0..<100 {
            try bench.apply(
                [.recordStep(Bench.address("a\(number)"), StepKey("later", 0), value: [2])],
                epoch: 1)
            try bench.apply([.finishRun(Bench.address("a\(number)"), .success([]))], epoch: 1)
        }
        try bench.apply([Bench.start("new")])
        #expect(view.serialize() == before)
        #expect(bench.machine.stateHash != hash)
        let restored = WorkflowStateMachine()
        try restored.restore(before, formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == hash)
        #expect(restored.state.check() == nil)
        #expect(restored.run("a150")?.steps.count == 150)
    }

    @Test("two texts that look the same and are other bytes are two workflow ids")
    func byteText() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("\u{E9}", run: 1)])
        #expect(try bench.apply([Bench.start("e\u{301}", run: 2)]).result?.wasDone == false)
        #expect(bench.machine.count(of: .running) == 2)
    }

    @Test("a run id is a UUIDv7 that comes back from its bytes")
    func runID() {
        let id = RunID(milliseconds: 0x0123_4567_89AB, random: (.max, .max))
        #expect(id.description == "01234567-89ab-7fff-bfff-ffffffffffff")
        #expect(RunID(bytes: id.bytes) == id)
        #expect(RunID(bytes: []) == nil)
        #expect(RunID(high: 1, low: 2).description == "00000000-0000-0001-0000-000000000002")
    }

    @Test("a bucketed map grows, changes in place, and leaves its copies alone")
    func bucketedMap() {
        var map = BucketedMap<Int, Int>(minimumBuckets: 64)
        for number in 0..<5000 { map.insert(number, for: number) }
        let copy = map
        for number in 0..<5000 { _ = map.update(number) { $0 += 1 } }
        #expect(map.count == 5000 && copy.count == 5000)
        #expect(map.sorted().map(\.value) == Array(1...5000))
        #expect(copy.sorted().map(\.value) == Array(0..<5000))
        #expect(map.update(9999) { $0 += 1 } == nil && map[9999] == nil && map[7] == 8)
    }
}
