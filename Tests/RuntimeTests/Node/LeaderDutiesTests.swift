import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite struct LeaderDutiesTests {
    @Test(
        "groups that are to be looked at all at once take turns, so many with a tick, and none is left out or comes twice"
    )
    func turns() {
        let duties = LeaderDuties(
            executorTimeout: .seconds(1), retention: WorkflowRetention(), portion: 100)
        let groups = (1...1_000).map { GroupID($0) }
        for group in groups { duties.note(group) }
        var looked: [GroupID] = []
        var time = MonotonicTime(nanoseconds: 0)
        while looked.count < groups.count {
            let turn = duties.takeTurn(time, WallTime(nanoseconds: 0))
            #expect(!turn.isEmpty && turn.count <= GroupQueue.portion)
            guard !turn.isEmpty else { return }
            looked += turn
            // Something happens in one that waits.
            duties.note(groups[999])
            time = time.advanced(by: .milliseconds(100))
        }
        #expect(Array(looked.prefix(1_000)) == groups)
    }
}
