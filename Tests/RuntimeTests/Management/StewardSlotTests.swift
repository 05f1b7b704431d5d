import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Slots that clusters owe others", .timeLimit(.minutes(5)))
struct StewardSlotTests {
    private func id(_ number: UInt64) -> String { "w\(number)" }

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

    @Test("slots whose next home is no more go to the one behind it")
    func destroyedHome() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 3)
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
        #expect(try world.place(of: id(1)) == first)
        #expect(try world[world.group(2)].start("new", run: 20).refusal == nil)
    }

    @Test("slots that went down with a home that was destroyed by force are opened by the next one, and no others are")
    func lostSlots() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 4)
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

    @Test("after something was given up by force a slot that moves costs a question to its former home, and no entry")
    func costOfLostSlots() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 5)
        let third = world.group(3)
        try world.manage(.destroyCluster(ManagementBench.cluster(5), sealEpoch: 0, isForced: true))
        world.remove(world.group(5))
        try world.moveSlots(of: 1, to: [3])
        let (proposals, questions) = (world.proposals, world.questions)
        let steward = ClusterSteward(world, attention: GroupAttention())
        if case .done = await steward.round(third) {} else { Issue.record("its former home has them, and brings them") }
        #expect(world.proposals == proposals && world.questions == questions + 1)
        try await world.settle()
        #expect(world[third].state.transfers.slots.heldCount == SlotMap.count)
        let asked = world.questions
        try await world.settle()
        #expect(world.questions == asked, "whoever has its slots asks nobody")
        let restored = try ManagementState(decoding: world.view.serialize())
        #expect(restored.slots == world.view.slots && restored.slots[7].former == world.group(1))
    }

    @Test("a node that has not heard of the slots' next home does not open them in its place")
    func staleView() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 4)
        let (second, fourth) = (world.group(2), world.group(4))
        try world.moveSlots(of: 1, to: [3])
        try await world.settle()
        try world.moveSlots(of: 3, to: [2])
        try world.manage(.destroyCluster(ManagementBench.cluster(3), sealEpoch: 0, isForced: true))
        world.remove(world.group(3))
        world.holdView()
        try world.moveSlots(of: 2, to: [4])
        let steward = ClusterSteward(world, attention: GroupAttention())
        _ = await steward.round(second)
        #expect(world[second].state.transfers.slots.heldCount == 0)
        try await world.settle()
        #expect(world[second].state.transfers.slots.heldCount == 0)
        #expect(world[fourth].state.transfers.slots.openEpoch(of: 7) == 4)
    }

    @Test("slots that are handed over between two answers are not taken for lost")
    func slotsOnTheirWay() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 4)
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
            let world = try await MemoryWorld.withRuns(clusters: 4)
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
            #expect(try world.place(of: id(1)) == first)
            #expect(try world[world.group(last)].start("new", run: 20).refusal == nil)
        }
    }
}
