import FlotillaRaft
import Testing

@testable import Flotilla

@Suite struct DueTimesTests {
    @Test("groups are due once, at the last time that was set, the earliest first")
    func order() {
        var times = DueTimes()
        times.set(50, of: GroupID(1))
        times.set(20, of: GroupID(2))
        times.set(20, of: GroupID(3))
        times.set(70, of: GroupID(2))
        times.set(70, of: GroupID(2))
        #expect(times.takeDue(by: 19) == [])
        #expect(times.takeDue(by: 60) == [GroupID(3), GroupID(1)])
        #expect(times.takeDue(by: 60) == [])
        times.set(60, of: GroupID(4))
        times.remove(GroupID(4))
        times.remove(GroupID(9))
        #expect(times.takeDue(by: .max) == [GroupID(2)])
    }
}
