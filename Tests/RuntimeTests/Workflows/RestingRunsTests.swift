import Testing

@testable import Flotilla

@Suite("RestingRuns")
struct RestingRunsTests {
    @Test("runs that rest are found by the time at which they wake, some at a time")
    func order() {
        var runs = RestingRuns()
        func assignment(_ id: String) -> Assignment { Assignment(key: RunKey("default", id), epoch: 3) }
        for (id, until) in [("late", 30), ("early", 10), ("twin", 10), ("never", nil)] as [(String, Int64?)] {
            runs.insert(assignment(id), until: until)
        }
        #expect(runs.firstWake == 10)
        #expect(runs.takeDue(at: 9, limit: 5).isEmpty)
        #expect(runs.takeDue(at: 30, limit: 1) == [assignment("early")])
        // To rest again is to rest once.
        runs.insert(assignment("late"), until: 40)
        #expect(runs.takeDue(at: 30, limit: 5) == [assignment("twin")])
        #expect(runs.contains(assignment("late")))
        #expect(!runs.contains(Assignment(key: RunKey("default", "late"), epoch: 4)))
        runs.remove(RunKey("default", "late"))
        #expect(runs.firstWake == nil)
        #expect(runs.count == 1)
    }
}
