import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// Groups by number, for tests of what goes on between them.
struct TransferBench {
    var bench: Bench
    let group: GroupID

    init(_ group: UInt64, slots: [Int] = []) throws {
        self.group = GroupID(group)
        bench = Bench(machine: WorkflowStateMachine(of: self.group))
        try bench.apply([Bench.register(group)])
        if !slots.isEmpty { try apply(.openSlots(slots, epoch: 1)) }
    }

    var state: WorkflowState { bench.machine.state }

    @discardableResult
    mutating func apply(_ operation: TransferOperation) throws -> WorkflowAnswer {
        try bench.apply([.transfer(operation)])
    }

    mutating func start(
        _ id: String, run: UInt64 = 1, _ placement: WorkflowOperation.StartRun.Placement = .atHome, below: UInt64 = 0,
        type: WorkflowType = Bench.type
    ) throws -> WorkflowAnswer {
        guard case .startRun(var start) = Bench.start(id, type, run: run) else { preconditionFailure() }
        (start.placement, start.admitBelow) = (placement, below)
        return try bench.apply([.startRun(start)])
    }

    mutating func reserve(
        _ id: String, run: UInt64, at group: UInt64, instead: UInt64? = nil, of replaced: UInt64 = 0,
        isLost: Bool = false
    ) throws -> WorkflowAnswer {
        try apply(
            .reserveRun(
                .init(
                    workflowID: id, runID: RunID(high: 7, low: run), group: GroupID(group),
                    replacing: instead.map {
                        .init(runID: RunID(high: 7, low: $0), group: GroupID(replaced), isLost: isLost)
                    })))
    }

    mutating func end(_ id: String, run: UInt64 = 1) throws {
        let epoch = try #require(bench.machine.run(id)?.epoch)
        try bench.apply([.finishRun(Bench.address(id, run: run), .success([]))], epoch: epoch)
    }

    func restarted() throws -> TransferBench {
        var copy = self
        let machine = WorkflowStateMachine(of: group)
        try machine.restore(bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(machine.stateHash == bench.machine.stateHash)
        copy.bench.machine = machine
        return copy
    }

    func address(_ id: String) -> Transfers.Address? { state.transfers.addresses[RunKey("default", id)] }
}

@Suite("Homes of workflow ids")
struct HomeTests {
    private func slot(_ id: String) -> Int { SlotMap.slot(of: RunKey("default", id)) }
    private func runID(_ run: UInt64) -> RunID { RunID(high: 7, low: run) }

    @Test("an id is taken where its slot is open, and nowhere else")
    func starts() throws {
        var (home, other) = (try TransferBench(20, slots: [slot("a")]), try TransferBench(21))
        #expect(try other.start("a").refusal == .notHome)
        #expect(try home.start("b").refusal == .notHome)
        #expect(try home.start("a").result?.runID == runID(1))
        #expect(try home.start("a", run: 2).result == OperationResult(wasDone: true, runID: runID(1)))
        #expect(try other.start("b", .alone).result?.runID == runID(1), "a group without others")
        try home.apply(.closeSlots([slot("a")], epoch: 2, home: other.group, instead: nil))
        try home.end("a")
        try home.bench.apply([.pruneRun(workflowID: "a")])
        for placement in [WorkflowOperation.StartRun.Placement.atHome, .alone] {
            #expect(try home.start("a", run: 3, placement).refusal == .notHome)
        }
    }

    @Test("an id that is reserved elsewhere is refused at home; whoever reserves it again hears of the first run")
    func reservations() throws {
        var (home, other) = (try TransferBench(20, slots: [slot("a"), slot("b")]), try TransferBench(21))
        #expect(try other.reserve("a", run: 1, at: 21).refusal == .notHome)
        #expect(
            try home.reserve("a", run: 1, at: 21).result
                == OperationResult(runID: runID(1), group: GroupID(21), slotEpoch: 1))
        #expect(try home.start("a", run: 2).refusal == .moved)
        #expect(
            try home.reserve("a", run: 2, at: 22).result
                == OperationResult(wasDone: true, runID: runID(1), group: GroupID(21), slotEpoch: 1))
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).result == OperationResult(runID: runID(1)))
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).result?.wasDone == true)
        _ = try home.start("b", run: 4)
        #expect(
            try home.reserve("b", run: 5, at: 21).result
                == OperationResult(wasDone: true, runID: runID(4), group: GroupID(20), slotEpoch: 1))
    }

    @Test("a home may reserve an id for its own group, which then begins the run under that reservation alone")
    func reservedHere() throws {
        var home = try TransferBench(20, slots: [slot("a")])
        _ = try home.reserve("a", run: 1, at: 20)
        #expect(try home.start("a", run: 2).refusal == .moved)
        #expect(try home.start("a", run: 2, .reserved(epoch: 1)).refusal == .moved)
        #expect(try home.start("a", run: 1, .reserved(epoch: 1)).result?.runID == runID(1))
        #expect(home.state.transfers.addresses.count == 0)
    }

    @Test("a full group turns a reserved run down for good, so that its id can be reserved elsewhere")
    func full() throws {
        var (home, other) = (try TransferBench(20, slots: [slot("a"), slot("b")]), try TransferBench(21))
        _ = try other.start("x", run: 9, .generated)
        #expect(try other.start("y", run: 8, .generated, below: 1).refusal == .full)
        #expect(try home.start("b", run: 8, below: 1).result?.runID == runID(8))
        #expect(try home.start("a", run: 7, below: 1).refusal == .full)
        _ = try home.reserve("a", run: 1, at: 21)
        #expect(
            try home.reserve("a", run: 2, at: 22, instead: 3, of: 21).result?.runID == runID(1), "not the one known")
        #expect(try other.start("a", run: 1, .reserved(epoch: 1), below: 1).result?.turnedDown == .full)
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).refusal == .notReserved)
        other = try other.restarted()
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).refusal == .notReserved)
        #expect(try home.reserve("a", run: 2, at: 22, instead: 1, of: 21).result?.group == GroupID(22))
        #expect(try home.reserve("a", run: 2, at: 22, instead: 1, of: 21).result?.wasDone == true)
        let unknown = WorkflowType("unknown", version: 1)
        _ = try home.reserve("c", run: 4, at: 21)
        #expect(try other.start("c", run: 4, .reserved(epoch: 1), type: unknown).result?.turnedDown == .unknownWorkflow)
    }

    @Test("an id whose run may have begun is not reserved again, unless the run's group was destroyed")
    func replacing() throws {
        var home = try TransferBench(20, slots: [slot("a")])
        _ = try home.reserve("a", run: 1, at: 21)
        try home.apply(
            .setAddress(workflowID: "a", .init(runID: runID(1), group: GroupID(22), epoch: 3), isFirst: false))
        #expect(try home.reserve("a", run: 2, at: 23, instead: 1, of: 21).result?.group == GroupID(22))
        #expect(try home.reserve("a", run: 2, at: 23, instead: 1, of: 22).result?.runID == runID(1))
        #expect(try home.reserve("a", run: 2, at: 23, instead: 1, of: 22, isLost: true).result?.runID == runID(2))
    }

    @Test("news of a run: the latest counts, and none of a run that was removed or that is here")
    func addresses() throws {
        var home = try TransferBench(20, slots: [slot("a"), slot("b")])
        func news(_ id: String, run: UInt64 = 1, at group: UInt64, _ epoch: UInt64, first: Bool = false)
            -> TransferOperation
        {
            .setAddress(
                workflowID: id, .init(runID: runID(run), group: GroupID(group), epoch: epoch), isFirst: first)
        }
        #expect(try home.apply(news("a", at: 21, 2)).result?.wasDone == true)
        #expect(home.address("a") == nil, "nobody has said that the run is there")
        try home.apply(news("a", at: 21, 2, first: true))
        try home.apply(news("a", at: 22, 5))
        #expect(try home.apply(news("a", at: 21, 4)).result?.wasDone == true)
        #expect(try home.apply(news("a", run: 2, at: 21, 9)).result?.wasDone == true, "another run")
        #expect(home.address("a")?.group == GroupID(22))
        #expect(try home.apply(.clearAddress(workflowID: "a", runID(2))).result?.wasDone == true)
        #expect(try home.apply(.clearAddress(workflowID: "a", runID(1))).result == OperationResult())
        try home.apply(news("a", at: 23, 7))
        #expect(home.address("a") == nil, "late news")
        _ = try home.start("b")
        try home.apply(news("b", at: 23, 7, first: true))
        #expect(home.address("b") == nil)
        #expect(try home.apply(news("c", at: 23, 7, first: true)).refusal == .notHome)
        #expect(try home.apply(.clearAddress(workflowID: "c", runID(1))).refusal == .notHome)
    }

    @Test("the home hears of a removed run only once it knows where the run had gone")
    func clearing() throws {
        var home = try TransferBench(20, slots: [slot("a")])
        _ = try home.start("a")
        try home.apply(.exportRun(Bench.address("a"), to: GroupID(21)))
        #expect(try home.apply(.clearAddress(workflowID: "a", runID(1))).refusal == .moved)
        #expect(try home.reserve("a", run: 2, at: 21).refusal == .moved)
        #expect(try home.bench.apply([.controlRun(workflowID: "a", .pause, reason: "")]).refusal == .moved)
        let done = TransferOperation.Completion(target: GroupID(21), number: 1, isAccepted: true)
        #expect(try home.apply(.completeExport(done)).result == OperationResult())
        #expect(home.address("a")?.group == GroupID(21))
        #expect(try home.apply(.clearAddress(workflowID: "a", runID(1))).result == OperationResult())
    }

    @Test("a run that is removed away from home leaves a release until its home has heard")
    func releases() throws {
        var other = try TransferBench(21)
        _ = try other.start("a", run: 1, .reserved(epoch: 1))
        _ = try other.start("b", run: 2, .generated)
        for (id, run) in [("a", UInt64(1)), ("b", 2)] { try other.end(id, run: run) }
        let all = WorkflowRetention(count: 0)
        try other.bench.apply([.pruneFinished(keeping: all, limit: 10)])
        #expect(other.state.transfers.releases.sorted().map(\.value) == [RunKey("default", "a")], "nobody knows of b")
        #expect(try other.apply(.seal(epoch: 1)).refusal == .notEmpty)
        other = try other.restarted()
        #expect(try other.apply(.confirmRelease(workflowID: "a", runID(9))).result?.wasDone == true)
        #expect(try other.apply(.confirmRelease(workflowID: "a", runID(1))).result == OperationResult())
        #expect(try other.apply(.seal(epoch: 1)).result == OperationResult())
    }

    @Test("a run that has left does not begin again by a late start, nor one that was named long ago")
    func departed() throws {
        var other = try TransferBench(21)
        _ = try other.start("a", run: 1, .reserved(epoch: 1))
        try other.apply(.exportRun(Bench.address("a"), to: GroupID(22)))
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).refusal == .moved)
        try other.apply(
            .completeExport(.init(target: GroupID(22), number: 1, isAccepted: true, isKnownAtHome: true)))
        other = try other.restarted()
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).refusal == .notReserved)
        #expect(try other.start("a", run: 1, .generated).refusal == .notReserved)
        other.bench.time = (DepartedRuns.horizon + 2) * 1_000_000
        _ = try other.start("c", run: 5, .alone)
        try other.end("c", run: 5)
        try other.bench.apply([.pruneRun(workflowID: "c")])
        #expect(other.state.transfers.departed.runs.count == 0, "too old to begin: no need to remember it")
        #expect(try other.start("a", run: 1, .reserved(epoch: 1)).refusal == .notReserved)
        #expect(try other.start("d", run: 6, .reserved(epoch: 1)).refusal == .notReserved)
    }

    @Test("slots change their home with all that is known of their ids, and late commands change nothing")
    func handover() throws {
        let slots = [slot("a"), slot("b"), slot("c"), slot("d")]
        var (old, new) = (try TransferBench(20, slots: slots), try TransferBench(21))
        _ = try old.start("a")
        _ = try old.reserve("b", run: 2, at: 22)
        _ = try old.start("c", run: 3)
        try old.apply(.exportRun(Bench.address("c", run: 3), to: GroupID(22)))
        #expect(try old.apply(.closeSlots(slots, epoch: 2, home: old.group, instead: nil)).refusal == .conflict)
        try old.apply(.closeSlots(slots, epoch: 2, home: new.group, instead: nil))
        #expect(try old.reserve("d", run: 4, at: 22).refusal == .notHome)
        #expect(try old.apply(.seal(epoch: 1)).refusal == .notEmpty)
        let entries = HandoverSource(old.state, of: old.group).entries(in: slots)
        #expect(Set(entries.map(\.key.workflowID.text)) == ["a", "b", "c"])
        #expect(try new.apply(.handOver(epoch: 2, entries)).result == OperationResult())
        #expect(try new.start("d", run: 4).refusal == .notHome)
        #expect(try new.apply(.openSlots(slots, epoch: 2)).result == OperationResult())
        #expect(new.address("a") == .init(runID: runID(1), group: old.group, epoch: 2))
        #expect(new.address("b")?.isReservation == true)
        #expect(try new.apply(.clearAddress(workflowID: "b", runID(2))).result == OperationResult())
        #expect(try new.apply(.handOver(epoch: 2, entries)).result?.wasDone == true)
        #expect(new.address("b") == nil, "what the old home says does not count any more")
        old = try old.restarted()
        #expect(try old.apply(.releaseSlots(slots, epoch: 2)).result == OperationResult())
        #expect(old.state.transfers.addresses.count == 0)
        #expect(try old.apply(.openSlots(slots, epoch: 1)).result?.wasDone == true)
        #expect(try old.start("d", run: 4).refusal == .notHome)
        #expect(try new.start("d", run: 4).result?.runID == runID(4))
        #expect(
            try old.apply(.completeExport(.init(target: GroupID(22), number: 1, isAccepted: true))).refusal == .notHome)
        #expect(try old.start("e", run: 5, .reserved(epoch: 1)).result?.runID == runID(5))
        #expect(try old.start("d", run: 6, .reserved(epoch: 1)).refusal == .notHome, "its home was another then")
    }

    @Test("slots whose next home was sealed before it opened them go to the one after it, and only to that one")
    func redirection() throws {
        var old = try TransferBench(20, slots: [5, 6])
        try old.apply(.closeSlots([5, 6], epoch: 2, home: GroupID(21), instead: nil))
        func phase(_ slot: Int) -> HomeSlots.Slot? { old.state.transfers.slots[slot] }
        #expect(
            try old.apply(.closeSlots([5], epoch: 3, home: GroupID(22), instead: nil)).result?.wasDone == true)
        #expect(
            try old.apply(.closeSlots([5], epoch: 3, home: GroupID(22), instead: GroupID(23))).result?.wasDone == true)
        #expect(
            try old.apply(.closeSlots([5], epoch: 4, home: GroupID(22), instead: GroupID(21))).result?.wasDone == true)
        #expect(phase(5) == HomeSlots.Slot(epoch: 2, phase: .closed(for: GroupID(21))))
        try old.apply(.closeSlots([5], epoch: 3, home: GroupID(22), instead: GroupID(21)))
        #expect(phase(5) == HomeSlots.Slot(epoch: 3, phase: .closed(for: GroupID(22))))
        #expect(old.state.transfers.slots.closed.values.sorted { $0[0] < $1[0] } == [[5], [6]])
        #expect(try old.apply(.releaseSlots([5, 6], epoch: 3)).result == OperationResult())
        #expect(phase(5)?.phase == .released && phase(6)?.phase == .closed(for: GroupID(21)))
        #expect(old.state.transfers.slots.heldCount == 1)
    }

    @Test("TT-05: a group seals its log only when nothing is left in it, and sends everybody elsewhere from then on")
    func seal() throws {
        var here = try TransferBench(20, slots: [slot("a")])
        _ = try here.start("a")
        func refusal() throws -> WorkflowRefusal? { try here.apply(.seal(epoch: 1)).refusal }
        #expect(try refusal() == .notEmpty, "a run")
        try here.apply(.exportRun(Bench.address("a"), to: GroupID(21)))
        #expect(try refusal() == .notEmpty, "a run on its way")
        try here.apply(.completeExport(.init(target: GroupID(21), number: 1, isAccepted: true)))
        #expect(try refusal() == .notEmpty, "an address, and a slot")
        try here.apply(.clearAddress(workflowID: "a", runID(1)))
        #expect(try refusal() == .notEmpty, "a slot")
        try here.apply(.closeSlots([slot("a")], epoch: 2, home: GroupID(21), instead: nil))
        #expect(try refusal() == .notEmpty, "a slot that waits for its new home")
        try here.apply(.releaseSlots([slot("a")], epoch: 2))
        #expect(here.state.transfers.sealEpoch == nil)
        #expect(try here.apply(.seal(epoch: 2)).result == OperationResult())
        #expect(try here.apply(.seal(epoch: 1)).result?.wasDone == true)
        here = try here.restarted()
        #expect(here.state.transfers.sealEpoch == 2)
        #expect(try here.start("b", .alone).refusal == .sealed)
        #expect(try here.start("b", .reserved(epoch: 9)).refusal == .sealed)
        #expect(try here.reserve("a", run: 1, at: 21).refusal == .sealed)
        #expect(try here.apply(.openSlots([slot("a")], epoch: 2)).result?.wasDone == true)
        #expect(try here.apply(.openSlots([slot("a")], epoch: 3)).refusal == .sealed)
        let address = Transfers.Address(runID: runID(1), group: GroupID(21), epoch: 1)
        let entry = TransferOperation.HandoverEntry(key: RunKey("default", "a"), address: address)
        #expect(try here.apply(.handOver(epoch: 3, [entry])).refusal == .sealed)
        var other = try TransferBench(21)
        _ = try other.start("c", .generated)
        try other.apply(.exportRun(Bench.address("c"), to: here.group))
        let moving = try #require(other.state.transfers.frozenRun(RunKey("default", "c")))
        for part in TransferredRun(key: RunKey("default", "c"), run: moving)
            .parts(from: other.group, number: 1, acknowledgedBelow: 1)
        {
            #expect(try here.apply(.importRun(part)).result?.turnedDown == .sealed)
        }
    }
}
