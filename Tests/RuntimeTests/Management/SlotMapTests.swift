import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("The slot map")
struct SlotMapTests {
    @Test("the slot of an id is the same on all nodes, for ever, and ids spread over all slots")
    func hashing() {
        #expect(SlotMap.slot(of: RunKey("default", "order-1")) == 1_676)
        #expect(SlotMap.slot(of: RunKey("default", "")) == 3_470)
        #expect(SlotMap.slot(of: RunKey("a", "bc")) != SlotMap.slot(of: RunKey("ab", "c")))
        var counts = [Int](repeating: 0, count: SlotMap.count)
        for number in 0..<(SlotMap.count * 8) { counts[SlotMap.slot(of: RunKey("default", "order-\(number)"))] += 1 }
        // Eight on average: a fair hash leaves about one slot empty, and none with more than thirty.
        #expect(counts.filter { $0 == 0 }.count < 20 && counts.allSatisfy { $0 < 30 })
    }

    @Test("a slot that moves gets a new epoch, the others keep theirs, and the map comes back from its runs")
    func moving() throws {
        var map = SlotMap()
        #expect(!map.hasHomes && map.home(of: RunKey("default", "a")) == nil)
        map.move(0..<SlotMap.count, to: GroupID(2))
        map.move([5, 6, 4_095], to: GroupID(3))
        map.move([5], to: GroupID(3))
        #expect(map.version == 2)
        #expect(map[4] == .init(home: GroupID(2), epoch: 1))
        #expect(map[5] == .init(home: GroupID(3), epoch: 2, former: GroupID(2)))
        #expect(map.slots(of: GroupID(3)) == [5, 6, 4_095])
        #expect(map.runs.map(\.count) == [5, 2, 4_088, 1])
        #expect(SlotMap(version: map.version, runs: map.runs) == map)
        #expect(SlotMap(version: 1, runs: Array(map.runs.dropLast())) == nil)
        #expect(SlotMap(version: 1, runs: map.runs + map.runs) == nil)
    }
}
