import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Runs that are tied to others, in the state", .timeLimit(.minutes(5)))
struct TieTests {
    private static let child = StepKey("$child/w", 0)

    private static func starting(
        _ id: String = "c", _ key: StepKey = child, _ policy: ParentClosePolicy = .terminate
    ) -> WorkflowOperation {
        let post = RunTies.Post(
            workflowID: id,
            content: .startChild(type: Bench.type, input: [49], attributes: RunAttributes()), step: key, createdAt: 0)
        return .tie(.post(Bench.address("a"), post, policy))
    }

    private static func telling(_ id: String, _ occurrence: UInt64 = 0, bytes: Int = 1) -> WorkflowOperation {
        let content = RunTies.Post.Content.signal(name: "s", value: Array(repeating: 49, count: bytes))
        return .tie(
            .post(
                Bench.address("a"),
                RunTies.Post(
                    workflowID: id, content: content, step: StepKey("$signal/\(id)/s", occurrence), createdAt: 0), nil))
    }

    private static func settling(_ number: UInt64, _ value: [UInt8]? = [1], isFailure: Bool = false)
        -> WorkflowOperation
    {
        .tie(.settle(Bench.address("a"), number: number, value, isFailure: isFailure))
    }

    private static func parent(_ execution: UInt64 = 1) -> RunTies.Parent {
        RunTies.Parent(
            workflowID: "a", runID: Bench.address("a").runID, execution: execution, child: child)
    }

    private static func reporting(_ value: [UInt8] = [9], execution: UInt64 = 1) -> WorkflowOperation {
        .tie(.reportEnd(parent(execution), child: RunID(high: 7, low: 8), value))
    }

    private static let taking = WorkflowOperation.tie(.takeEnd(Bench.address("a"), child: child))

    private func bench() throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        return bench
    }

    private func ties(_ bench: Bench, _ id: String = "a") -> RunTies? { bench.machine.run(id)?.ties }

    private func expectRestored(_ bench: Bench) throws {
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash)
        #expect(restored.state.debtors.elements.map(\.key) == bench.machine.state.debtors.elements.map(\.key))
        #expect(ties(bench)?.postBytes == restored.run("a")?.ties?.postBytes)
        #expect(bench.machine.state.check() == nil && restored.state.check() == nil)
    }

    @Test("a child is started, ends and is asked for once, however often each of that is told, and by the owner alone")
    func child() throws {
        var bench = try bench()
        #expect(try bench.apply([Self.starting()], epoch: 0).refusal == .staleOwner)
        #expect(try bench.apply([Self.starting()], epoch: 1).result?.wasDone == false)
        #expect(try bench.apply([Self.starting()], epoch: 1).result?.wasDone == true)
        #expect(ties(bench)?.posts.count == 1 && bench.machine.state.debtors.count == 1)
        try expectRestored(bench)
        // Its end may be heard of before its start is.
        #expect(try bench.apply([Self.reporting()]).result?.wasDone == false)
        #expect(try bench.apply([Self.reporting([8])]).result?.wasDone == true)
        #expect(try bench.apply([Self.settling(1)]).result?.wasDone == false)
        #expect(try bench.apply([Self.settling(1, [2])]).result?.wasDone == true)
        #expect(bench.machine.run("a")?.steps[Self.child]?.value == [1] && bench.machine.state.debtors.count == 0)
        #expect(try bench.apply([Self.starting()], epoch: 1).result?.wasDone == true)
        try expectRestored(bench)
        #expect(try bench.apply([Self.taking], epoch: 0).refusal == .staleOwner)
        for _ in 0..<2 { #expect(try bench.apply([Self.taking], epoch: 1).result?.recordedValue == [9]) }
        #expect(ties(bench)?.children.count == 0)
        #expect(try bench.apply([Self.reporting([8])]).result?.wasDone == true)
        try expectRestored(bench)
    }

    @Test("what cannot be delivered ever is recorded, and its child is none")
    func failure() throws {
        var bench = try bench()
        try bench.apply([Self.starting()], epoch: 1)
        #expect(try bench.apply([Self.taking], epoch: 1).result?.recordedValue == nil)
        try bench.apply([Self.settling(1, [5], isFailure: true)])
        #expect(bench.machine.run("a")?.steps[Self.child]?.value == [5] && ties(bench)?.children.count == 0)
        #expect(try bench.apply([Self.reporting()]).result?.wasDone == true)
        #expect(try bench.apply([Self.settling(1)]).result?.wasDone == true)
        #expect(
            try bench.apply([.tie(.settle(Bench.address("a", run: 2), number: 1, nil, isFailure: false))]).refusal
                == .noSuchRun)
    }

    @Test("a run that ends tells its children by their policies and its parent, and is not removed before it has")
    func ends() throws {
        for isTerminated in [false, true] {
            var bench = try bench()
            guard case .startRun(var start) = Bench.start("c", run: 3) else { return }
            start.parent = Self.parent()
            try bench.apply([.startRun(start)])
            #expect(try bench.apply([Bench.start("c", run: 4)]).refusal == .conflict, "of another parent")
            start.runID = RunID(high: 7, low: 5)
            #expect(try bench.apply([.startRun(start)]).result?.wasDone == true)
            for (number, policy) in ParentClosePolicy.allCases.enumerated() {
                try bench.apply([Self.starting("c\(number)", StepKey("$child/w", UInt64(number)), policy)], epoch: 1)
            }
            try bench.apply([Self.starting("ended", StepKey("$child/x", 0))], epoch: 1)
            for number in 1...4 as ClosedRange<UInt64> { try bench.apply([Self.settling(number)]) }
            let ended = RunTies.Parent(
                workflowID: "a", runID: Bench.address("a").runID, execution: 1, child: StepKey("$child/x", 0))
            try bench.apply([.tie(.reportEnd(ended, child: RunID(high: 1, low: 1), [1]))])
            if isTerminated {
                try bench.apply([.controlRun(workflowID: "a", .terminate, reason: "")])
            } else {
                try bench.apply([.finishRun(Bench.address("a"), .success([]))], epoch: 1)
            }
            let posts = ties(bench)?.posts.elements.map(\.value) ?? []
            #expect(posts.map(\.content) == [.closeChild(.terminate), .closeChild(.cancel)])
            #expect(posts.map(\.workflowID) == ["c0", "c1"])
            try expectRestored(bench)
            #expect(try bench.apply([.pruneRun(workflowID: "a")]).refusal == .wrongState)
            try bench.apply([.pruneFinished(keeping: WorkflowRetention(count: 0), limit: 9)])
            #expect(bench.machine.run("a") != nil)
            for number in 5...6 as ClosedRange<UInt64> { try bench.apply([Self.settling(number, nil)]) }
            try expectRestored(bench)
            try bench.apply([.pruneFinished(keeping: WorkflowRetention(count: 0), limit: 9)])
            #expect(bench.machine.run("a") == nil && bench.machine.run("c") != nil)

            try bench.apply([.tie(.closeChild(workflowID: "c", parent: RunID(high: 9, low: 9), .terminate))])
            #expect(bench.machine.run("c")?.status == .running, "somebody else's end is nothing to it")
            try bench.apply([.tie(.closeChild(workflowID: "c", parent: Bench.address("a").runID, .terminate))])
            #expect(bench.machine.run("c")?.status == .terminated)
            #expect(ties(bench, "c")?.posts.elements.map(\.value.content) == [.reportEnd])
            #expect(
                try bench.apply([.tie(.reportEnd(Self.parent(), child: RunID(high: 7, low: 3), []))]).refusal
                    == .noSuchRun)
        }
    }

    private static func continuing(keeping kept: [StepKey] = []) -> WorkflowOperation {
        .composition(
            .continueRun(
                CompositionOperation.Continuation(
                    run: Bench.address("a"), type: Bench.type, input: [50], formerID: RunID(high: 7, low: 50),
                    kept: kept)))
    }

    @Test("the next execution sends what the last one has told, and hears nothing of children that it did not keep")
    func executions() throws {
        var bench = try bench()
        try bench.apply([Self.starting()], epoch: 1)
        try bench.apply([Self.telling("x")], epoch: 1)
        try bench.apply([Self.continuing()], epoch: 1)
        let posts = ties(bench)?.posts.elements.map(\.value) ?? []
        #expect(posts.map(\.workflowID) == ["c", "x", "c"] && ties(bench)?.children.count == 0)
        #expect(posts.allSatisfy { $0.step == nil })
        #expect(posts.map(\.former) == [RunTies.Post.FormerStep(step: Self.child, execution: 1), nil, nil])
        try expectRestored(bench)
        // Whose child it is stays the same, however many executions are between.
        try bench.apply([Self.continuing()], epoch: 2)
        typealias Courier = PostCourier<NodeStewardWorld>
        let chains: WorkflowState.PostChains<NodeStewardWorld> = bench.machine.state.chains(
            of: .underTest, besides: [], after: 0)
        let delivery = try #require(chains.chains.first?.deliveries.first)
        #expect(delivery.childsParent == Self.parent(1) && delivery.execution == 3)
    }

    @Test("a child that an execution keeps is heard of in the next one, whether it has ended before or not")
    func keptChildren() throws {
        for hasEnded in [false, true] {
            var bench = try bench()
            let other = StepKey("$child/w", 1)
            try bench.apply([Self.starting("c", Self.child, .abandon)], epoch: 1)
            try bench.apply([Self.starting("d", other, .abandon)], epoch: 1)
            for number in 1...2 as ClosedRange<UInt64> { try bench.apply([Self.settling(number)]) }
            if hasEnded { try bench.apply([Self.reporting()]) }
            try bench.apply([Self.continuing(keeping: [Self.child, StepKey("$child/none", 0)])], epoch: 1)
            #expect(ties(bench)?.children.sorted().map(\.key) == [Self.child])
            try expectRestored(bench)
            if !hasEnded { #expect(try bench.apply([Self.reporting()]).result?.wasDone == false) }
            #expect(try bench.apply([Self.taking], epoch: 2).result?.recordedValue == [9])
            #expect(ties(bench)?.children.count == 0)
        }
        // Also one that would have to end.
        var bench = try bench()
        try bench.apply([Self.starting()], epoch: 1)
        try bench.apply([Self.settling(1)])
        try bench.apply([Self.continuing(keeping: [Self.child])], epoch: 1)
        #expect(ties(bench)?.posts.count == 0 && ties(bench)?.children.count == 1)
        // One of its name that cannot be started is another one.
        let namesake = RunTies.Post(
            workflowID: "c", content: .startChild(type: Bench.type, input: [49], attributes: RunAttributes()),
            step: Self.child, createdAt: 0)
        try bench.apply([.tie(.post(Bench.address("a"), namesake, nil))], epoch: 2)
        try bench.apply([Self.settling(2, [5], isFailure: true)])
        #expect(ties(bench)?.children.count == 1)
    }

    @Test("a run that failed keeps what it asks for when it is tried again: ends of children, and answers")
    func failedRun() throws {
        var bench = try bench()
        try bench.apply([Self.starting()], epoch: 1)
        try bench.apply([Self.settling(1)])
        try bench.apply([Self.telling("x")], epoch: 1)
        let failure = WorkflowFailure(type: "Broken", message: "")
        try bench.apply([.finishRun(Bench.address("a"), .failure(failure))], epoch: 1)
        #expect(ties(bench)?.posts.elements.map(\.value.workflowID) == ["x", "c"])
        try bench.apply([Self.settling(2, [7])])
        #expect(try bench.apply([Self.reporting()]).result?.wasDone == false)
        try bench.apply([Self.settling(3, nil)])
        try expectRestored(bench)
        try bench.apply([.controlRun(workflowID: "a", .retry, reason: "")])
        // What had arrived is not sent again.
        #expect(try bench.apply([Self.telling("x")], epoch: 2).result?.wasDone == true)
        #expect(bench.machine.run("a")?.steps[StepKey("$signal/x/s", 0)]?.value == [7])
        #expect(try bench.apply([Self.taking], epoch: 2).result?.recordedValue == [9])
        try bench.apply([.finishRun(Bench.address("a"), .success([]))], epoch: 2)
        #expect(ties(bench)?.posts.count == 0 && bench.machine.state.debtors.count == 0)
        try expectRestored(bench)
    }

    @Test("a child of the next execution is not the one of the same name that the last one had")
    func namesakes() throws {
        var bench = try bench()
        try bench.apply([Self.starting()], epoch: 1)
        try bench.apply([Self.continuing()], epoch: 1)
        #expect(try bench.apply([Self.starting("d")], epoch: 2).result?.wasDone == false)
        #expect(try bench.apply([Self.reporting()]).result?.wasDone == true)
        try bench.apply([Self.settling(1)])
        #expect(bench.machine.run("a")?.steps.count == 0)
        #expect(try bench.apply([Self.reporting(execution: 2)]).result?.wasDone == false)
        try expectRestored(bench)
    }

    @Test(
        "what a run tells others in a later incarnation has no number that the lost members may have used for something else"
    )
    func incarnations() throws {
        func number(of id: String, in bench: Bench) -> UInt64? {
            ties(bench)?.posts.elements.first { $0.value.workflowID == id }?.key
        }
        var (lost, survivor) = (try bench(), try bench())
        try lost.apply([Self.telling("x")], epoch: 1)
        #expect(number(of: "x", in: lost) == 1)
        survivor.machine.beginIncarnation(2)
        try survivor.apply([Self.telling("y")], epoch: try #require(survivor.machine.run("a")).epoch)
        let first = try #require(number(of: "y", in: survivor))
        #expect(first > 1_000_000)
        try expectRestored(survivor)
        // Also where it moves on to a group that was never founded anew.
        var there = Bench(machine: WorkflowStateMachine(of: GroupID(21)))
        try there.apply([Bench.register(2)])
        try survivor.apply([.transfer(.exportRun(Bench.address("a"), to: GroupID(21)))])
        let key = RunKey("default", "a")
        let moving = try #require(survivor.machine.state.transfers.frozenRun(key))
        for part in TransferredRun(key: key, run: moving).parts(from: .underTest, number: 1, acknowledgedBelow: 1) {
            try there.apply([.transfer(.importRun(part))])
        }
        try there.apply([Self.telling("z")], epoch: try #require(there.machine.run("a")).epoch)
        #expect(number(of: "z", in: there) == first + 1)
    }

    @Test("a run that has too much on its way is refused more, until some has arrived")
    func limits() throws {
        var bench = try bench()
        for number in 0..<16 {
            #expect(try bench.apply([Self.telling("x\(number)", bytes: 1 << 20)], epoch: 1).refusal == nil)
        }
        let hash = bench.machine.stateHash
        #expect(try bench.apply([Self.telling("y")], epoch: 1).refusal == .outboxFull)
        #expect(bench.machine.stateHash == hash)
        try bench.apply([Self.settling(7)])
        #expect(try bench.apply([Self.telling("y")], epoch: 1).refusal == nil)
    }

    @Test("what a group has to deliver is told by sender and receiver, in order, without what is under way")
    func chains() throws {
        var bench = try bench()
        for (id, occurrence) in [("x", 0), ("y", 0), ("x", 1), ("x", 2)] as [(String, UInt64)] {
            try bench.apply([Self.telling(id, occurrence)], epoch: 1)
        }
        typealias Courier = PostCourier<NodeStewardWorld>
        func chains(_ known: Set<Courier.ChainID> = []) -> [(id: Courier.ChainID, deliveries: [PostDelivery])] {
            bench.machine.state.chains(of: .underTest, besides: known, after: 0).chains
        }
        #expect(chains().map(\.id.to.text) == ["x", "y"])
        #expect(chains().map { $0.deliveries.map(\.number) } == [[1, 3, 4], [2]])
        #expect(chains([chains()[0].id]).map(\.id.to.text) == ["y"])
    }

    @Test("every operation comes out of its encoding as it went in")
    func encoding() throws {
        guard case .startRun(var start) = Bench.start("c") else { return }
        start.parent = Self.parent(7)
        var attributes = RunTies.Post(
            workflowID: "c",
            content: .startChild(type: Bench.type, input: [], attributes: try RunAttributes(checking: ["a": "b"])),
            step: nil, createdAt: 0)
        let address = Bench.address("a")
        var operations: [WorkflowOperation] = [
            .startRun(start), Self.starting(), Self.starting("c", Self.child, .abandon), Self.telling("x", 3, bytes: 0),
            Self.settling(7), Self.settling(0, nil, isFailure: true), Self.settling(1, []), Self.reporting(),
            Self.reporting([], execution: 3), Self.taking,
            .tie(.closeChild(workflowID: "c", parent: address.runID, .cancel)), .tie(.post(address, attributes, nil)),
        ]
        attributes.content = .closeChild(.terminate)
        operations.append(.tie(.post(address, attributes, nil)))
        attributes.content = .reportEnd
        operations.append(.tie(.post(address, attributes, nil)))
        attributes.former = .init(step: StepKey("$child/w", 3), execution: 9)
        operations.append(.tie(.post(address, attributes, nil)))
        operations.append(Self.continuing(keeping: [Self.child, StepKey("$child/v", 2)]))
        for operation in operations { #expect(try WorkflowOperation(operation.encoded) == operation) }
        #expect(
            [Self.starting(), Self.settling(1), Self.taking, Self.reporting()].map(\.encoded.type) == [73, 74, 75, 76])
    }
}
