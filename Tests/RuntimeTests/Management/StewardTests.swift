import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Groups in memory, and a network that loses what it likes: before it is applied, or the answer.
private final class MemoryWorld: StewardWorld {
    private struct State {
        var groups: [GroupID: TransferBench]
        var management: ManagementBench
        var random: SeededGenerator
        /// One in so many is lost; nil for none.
        var lossShare: Int?
        var proposals = 0
        /// What happens before a group tells of slots, once.
        var surprise: (group: GroupID, body: @Sendable (MemoryWorld) throws -> Void)?
    }

    private struct Lost: Error {}

    private let state: Lock<State>

    /// - Parameter clusters: of three nodes each; the first is the home of all ids.
    init(clusters: UInt64, seed: UInt64 = 1, lossShare: Int? = nil) throws {
        var management = try ManagementBench(nodes: 3)
        var groups: [GroupID: TransferBench] = [:]
        for number in 1...clusters {
            try management.apply(ManagementBench.create(number, [1, 2, 3]))
            let group = try #require(management.state.clusters[ManagementBench.cluster(number)]?.group)
            groups[group] = try TransferBench(group.rawValue)
        }
        state = Lock(
            State(
                groups: groups, management: management, random: SeededGenerator(seed: seed), lossShare: lossShare))
    }

    var view: ManagementState { state.withLock { $0.management.state } }

    func group(_ cluster: UInt64) -> GroupID { view.clusters[ManagementBench.cluster(cluster)]?.group ?? GroupID(0) }

    subscript(_ group: GroupID) -> TransferBench {
        get { state.withLock { $0.groups[group]! } }
        set { state.withLock { $0.groups[group] = newValue } }
    }

    var groups: [TransferBench] { state.withLock { $0.groups.sorted { $0.key < $1.key }.map(\.value) } }
    var proposals: Int { state.withLock { $0.proposals } }

    func manage(_ operations: ManagementOperation...) throws {
        let refusal = try state.withLock { state in try state.management.apply(operations) }
        #expect(refusal == nil)
    }

    func beforeQuestion(to group: GroupID, _ body: @escaping @Sendable (MemoryWorld) throws -> Void) {
        state.withLock { $0.surprise = (group, body) }
    }

    private func surprise(_ operations: [WorkflowOperation], _ group: GroupID) throws {
        guard case .transfer(.tellSlots)? = operations.first else { return }
        let body = state.withLock { state in
            guard let surprise = state.surprise, surprise.group == group else {
                return nil as (@Sendable (MemoryWorld) throws -> Void)?
            }
            state.surprise = nil
            return surprise.body
        }
        try body?(self)
    }

    func remove(_ group: GroupID) { state.withLock { $0.groups[group] = nil } }

    /// Moves all slots of a cluster to others, in turns.
    func moveSlots(of cluster: UInt64, to others: [UInt64]) throws {
        let slots = view.slots.slots(of: group(cluster))
        for (position, other) in others.enumerated() {
            let part = slots.enumerated().filter { $0.offset % others.count == position }.map(\.element)
            try manage(.moveSlots(SlotMove(version: view.slots.version, slots: part, home: group(other))))
        }
    }

    /// Lets the steward do what it can until nothing is left, or so often.
    func settle(_ groups: [GroupID]? = nil, rounds: Int = 2_000) async throws {
        let steward = ClusterSteward(self, attention: GroupAttention())
        for _ in 0..<rounds {
            var isDone = true
            for group in groups ?? view.clusters.members.map(\.value.group).sorted() {
                if case .done = await steward.round(group) {} else { isDone = false }
            }
            if isDone { return }
        }
        Issue.record("something is left to do after \(rounds) rounds")
    }

    // MARK: StewardWorld

    func leading<Result: Sendable>(
        _ group: GroupID, _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result? {
        state.withLock { $0.groups[group]?.bench.machine }.map(body)
    }

    func propose(_ operations: [WorkflowOperation], to group: GroupID) async throws -> WorkflowAnswer {
        try surprise(operations, group)
        return try state.withLock { state in
            state.proposals += 1
            func isLost() -> Bool {
                state.lossShare.map { Int.random(in: 0..<$0, using: &state.random) == 0 } ?? false
            }
            guard !isLost(), var bench = state.groups[group] else { throw Lost() }
            // As they travel.
            let answer = try bench.bench.apply(try operations.map { try WorkflowOperation($0.encoded) })
            state.groups[group] = bench
            if isLost() { throw Lost() }
            return answer
        }
    }

    func pause(attempt: Int) async throws {}
    func log(_ message: String, group: GroupID, isError: Bool) {}
}

@Suite("What clusters owe others", .timeLimit(.minutes(5)))
struct StewardTests {
    private func id(_ number: UInt64) -> String { "w\(number)" }

    /// A world whose first cluster has runs of all kinds: at home, ended, reserved for the second, and one of its own
    /// id.
    private func world(clusters: UInt64, seed: UInt64 = 1, lossShare: Int? = nil) async throws -> MemoryWorld {
        let world = try MemoryWorld(clusters: clusters, seed: seed, lossShare: lossShare)
        try await world.settle()
        let (first, second) = (world.group(1), world.group(2))
        for number in 1...6 as ClosedRange<UInt64> {
            #expect(try world[first].start(id(number), run: number).refusal == nil)
            if number > 4 { try world[first].end(id(number), run: number) }
        }
        #expect(try world[first].reserve(id(7), run: 7, at: second.rawValue).refusal == nil)
        #expect(try world[second].start(id(7), run: 7, .reserved(epoch: 1)).refusal == nil)
        #expect(try world[first].reserve(id(8), run: 8, at: second.rawValue).refusal == nil)
        #expect(try world[first].start("~g.9", run: 9, .generated).refusal == nil)
        return world
    }

    /// Where the home of an id sends those who ask for its run.
    private func place(of id: String, in world: MemoryWorld) throws -> GroupID? {
        let key = RunKey("default", id)
        let home = try #require(world.view.slots.home(of: key)?.home)
        switch world[home].state.location(of: key, in: home) {
        case .here: return home
        case .elsewhere(let group), .moving(let group): return group
        // An id may be reserved for a run that is to begin at its home itself.
        case .unknown: return world[home].state.transfers.addresses[key]?.group
        }
    }

    @Test("the first home opens all slots, and nothing is left to do then")
    func firstHome() async throws {
        let world = try MemoryWorld(clusters: 2)
        try await world.settle()
        #expect(world[world.group(1)].state.transfers.slots.heldCount == SlotMap.count)
        #expect(world[world.group(2)].state.transfers.slots.heldCount == 0)
        let proposals = world.proposals
        try await world.settle()
        #expect(world.proposals == proposals && proposals == 1)
    }

    @Test("TT-05: a cluster that is drained gives away slots and runs, ended ones too, and is sealed, whatever is lost")
    func drain() async throws {
        for seed in Simulation.seeds(20) {
            let world = try await world(clusters: 3, seed: seed, lossShare: 4)
            let (first, second) = (world.group(1), world.group(2))
            try world.manage(.drainCluster(ManagementBench.cluster(1), into: ManagementBench.cluster(2)))
            try world.moveSlots(of: 1, to: [2, 3])
            try await world.settle()
            #expect(world[first].state.transfers.sealEpoch == 1, "seed \(seed)")
            for number in [1, 2, 3, 4, 5, 6, 7] as [UInt64] {
                #expect(world[second].bench.machine.run(id(number))?.runID == RunID(high: 7, low: number))
                #expect(try place(of: id(number), in: world) == second, "seed \(seed): \(id(number))")
            }
            #expect(world[second].bench.machine.run(id(5))?.status == .completed)
            #expect(try place(of: "~g.9", in: world) == second)
            #expect(try place(of: id(8), in: world) == second, "a reservation goes along")
            for group in world.groups { #expect(group.state.check() == nil, "seed \(seed)") }
            // What is removed away from home is forgotten there.
            try world[second].bench.apply([.pruneRun(workflowID: id(5))])
            try await world.settle()
            #expect(try place(of: id(5), in: world) == nil, "seed \(seed)")
            #expect(world[second].state.transfers.releases.count == 0)
        }
    }

    @Test("runs without a named heir go to the clusters that have the least to do")
    func drainIntoAny() async throws {
        let world = try await world(clusters: 3)
        try world.manage(.drainCluster(ManagementBench.cluster(1), into: nil))
        try world.moveSlots(of: 1, to: [3])
        try await world.settle()
        #expect(world[world.group(1)].state.transfers.sealEpoch == 1)
        #expect(world.groups.dropFirst().map(\.state.runs.count).reduce(0, +) == 8)
    }

    @Test("as many runs move as were ordered, of those that have not ended, however often the steward looks")
    func orders() async throws {
        let world = try await world(clusters: 2)
        let (first, second) = (ManagementBench.cluster(1), ManagementBench.cluster(2))
        var report = WorkflowReport(cluster: first, after: .zero, through: LogIndex(9))
        report.started = (1...4 as ClosedRange<UInt64>).map { ManagementBench.started(id($0), run: $0) }
        try world.manage(.reportWorkflows(report))
        try world.manage(.moveRuns(from: first, to: second, count: 2))
        try await world.settle()
        try await world.settle()
        #expect(world[world.group(1)].state.runs.count == 5)
        #expect(world[world.group(2)].bench.machine.run(id(1)) != nil)
        #expect(world[world.group(2)].bench.machine.run(id(2)) != nil)
        #expect(try place(of: id(1), in: world) == world.group(2))
    }

    @Test("a run whose target was sealed first goes on where it was")
    func sealedTarget() async throws {
        let world = try await world(clusters: 3)
        let (first, third) = (world.group(1), world.group(3))
        try world[first].apply(.exportRun(Bench.address(id(1)), to: third))
        try world[third].apply(.seal(epoch: 1))
        try await world.settle()
        #expect(world[first].bench.machine.run(id(1))?.status == .running)
    }

    @Test("a run whose target is no more goes on where it was, unless it had been taken there and has left since")
    func destroyedTarget() async throws {
        for hadBeenTaken in [false, true] {
            let world = try await world(clusters: 3)
            let (first, second, third) = (world.group(1), world.group(2), world.group(3))
            // From a group that is not the home.
            try world[second].apply(.exportRun(Bench.address(id(7), run: 7), to: third))
            if hadBeenTaken {
                let key = RunKey("default", id(7))
                let moving = try #require(world[second].state.transfers.frozenRun(key))
                for part in TransferredRun(key: key, run: moving)
                    .parts(from: second, number: 1, acknowledgedBelow: 1)
                {
                    try world[third].apply(.importRun(part))
                }
                try world[third].end(id(7), run: 7)
                try world[third].bench.apply([.pruneRun(workflowID: id(7))])
                try await world.settle([third])
            }
            try world.manage(.drainCluster(ManagementBench.cluster(3), into: nil))
            try world.manage(.destroyCluster(ManagementBench.cluster(3), sealEpoch: 0, isForced: true))
            world.remove(third)
            try await world.settle()
            #expect((world[second].bench.machine.run(id(7)) == nil) == hadBeenTaken)
            #expect(world[second].state.transfers.outgoing.isEmpty)
            #expect(try place(of: id(7), in: world) == (hadBeenTaken ? nil : second))
            #expect(world[first].state.check() == nil)
        }
    }

    @Test("slots whose next home is no more go to the one behind it")
    func destroyedHome() async throws {
        let world = try await world(clusters: 3)
        let (first, third) = (world.group(1), world.group(3))
        try world.moveSlots(of: 1, to: [3])
        let epoch: UInt64 = 2
        try world[first].apply(
            .closeSlots(Array(0..<SlotMap.count), epoch: epoch, home: third, instead: nil))
        try world.manage(.drainCluster(ManagementBench.cluster(3), into: nil))
        try world.moveSlots(of: 3, to: [2])
        try await world.settle([third])
        #expect(world[third].state.transfers.sealEpoch == 1)
        try await world.settle()
        #expect(world[world.group(2)].state.transfers.slots.heldCount == SlotMap.count)
        #expect(try place(of: id(1), in: world) == first)
        #expect(try world[world.group(2)].start("new", run: 20).refusal == nil)
    }

    @Test("slots that went down with a home that was destroyed by force are opened by the next one, and no others are")
    func lostSlots() async throws {
        let world = try await world(clusters: 4)
        let (second, third) = (world.group(2), world.group(3))
        try world.moveSlots(of: 1, to: [3])
        try await world.settle()
        #expect(world[third].state.transfers.slots.heldCount == SlotMap.count)
        try world.manage(.drainCluster(ManagementBench.cluster(3), into: nil))
        try world.moveSlots(of: 3, to: [2])
        // Something else is given up: these are where they were, and on their way.
        try world.manage(.destroyCluster(ManagementBench.cluster(4), sealEpoch: 0, isForced: true))
        let steward = ClusterSteward(world, attention: GroupAttention())
        _ = await steward.round(second)
        #expect(world[second].state.transfers.slots.heldCount == 0, "their home has them")
        try world[third].apply(.closeSlots([5], epoch: 3, home: second, instead: nil))
        _ = await steward.round(second)
        #expect(world[second].state.transfers.slots.heldCount == 0, "also where it has closed them")
        // Nobody answers for the third one as long as management counts on it.
        let lost = world[third]
        world.remove(third)
        if case .stuck = await steward.round(second) {
        } else {
            Issue.record("a group that does not answer may have them")
        }
        #expect(world[second].state.transfers.slots.heldCount == 0)
        world[third] = lost
        try world.manage(.destroyCluster(ManagementBench.cluster(3), sealEpoch: 0, isForced: true))
        world.remove(third)
        try await world.settle()
        #expect(world[second].state.transfers.slots.heldCount == SlotMap.count)
        #expect(world[second].state.transfers.slots.openEpoch(of: 5) == 3)
        #expect(try world[second].start("new", run: 20).refusal == nil)
    }

    @Test("slots that are handed over between two answers are not taken for lost")
    func slotsOnTheirWay() async throws {
        let world = try await world(clusters: 4)
        let (first, second, third) = (world.group(1), world.group(2), world.group(3))
        try world.manage(.destroyCluster(ManagementBench.cluster(4), sealEpoch: 0, isForced: true))
        world.remove(world.group(4))
        try world.moveSlots(of: 1, to: [2])
        try await world.settle()
        try world.moveSlots(of: 2, to: [1])
        try world.moveSlots(of: 1, to: [3])
        let all = Array(0..<SlotMap.count)
        try world[second].apply(.closeSlots(all, epoch: 3, home: first, instead: nil))
        // The first group has said that it has none, and gets them from the second before that one is asked.
        world.beforeQuestion(to: second) { world in
            _ = try world[first].apply(.openSlots(all, epoch: 3))
            _ = try world[second].apply(.releaseSlots(all, epoch: 3))
        }
        let steward = ClusterSteward(world, attention: GroupAttention())
        if case .stuck = await steward.round(third) {} else { Issue.record("it has to look again") }
        #expect(world[third].state.transfers.slots.heldCount == 0)
        #expect(world[first].state.transfers.slots.openEpoch(of: 0) == 3)
        try await world.settle()
        #expect(world[third].state.transfers.slots.openEpoch(of: 0) == 4)
        #expect(world[first].state.transfers.slots.heldCount == 0)
    }

    @Test("slots whose next homes are sealed one after the other go to the last, or back; opened ones are let go")
    func severalHomes() async throws {
        let all = Array(0..<SlotMap.count)
        for (isOpened, last) in [(false, 2), (false, 1), (true, 2)] as [(Bool, UInt64)] {
            let world = try await world(clusters: 4)
            let (first, third) = (world.group(1), world.group(3))
            try world.moveSlots(of: 1, to: [3])
            try world[first].apply(.closeSlots(all, epoch: 2, home: third, instead: nil))
            if isOpened {
                // The first one has not heard that it did.
                let entries = HandoverSource(world[first].state, of: first).entries(in: all)
                try world[third].apply(.handOver(epoch: 2, entries))
                try world[third].apply(.openSlots(all, epoch: 2))
            }
            for (home, next) in [(3, 4), (4, last)] as [(UInt64, UInt64)] {
                try world.manage(.drainCluster(ManagementBench.cluster(home), into: ManagementBench.cluster(2)))
                try world.moveSlots(of: home, to: [next])
                try await world.settle([world.group(home)])
                #expect(world[world.group(home)].state.transfers.sealEpoch == 1)
            }
            try await world.settle()
            for number in 1...4 as ClosedRange<UInt64> {
                let held = world[world.group(number)].state.transfers.slots.heldCount
                #expect(
                    held == (number == last ? SlotMap.count : 0), "cluster \(number), opened \(isOpened), last \(last)")
            }
            #expect(try place(of: id(1), in: world) == first)
            #expect(try world[world.group(last)].start("new", run: 20).refusal == nil)
        }
    }
}
