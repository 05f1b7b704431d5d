import FlotillaIO
import Testing

@testable import Flotilla

@Suite("What a schedule does next")
struct ScheduleStateTests {
    private static let second: Int64 = 1_000_000_000

    private static func state(_ schedule: Schedule, last: Int64) -> ScheduleState {
        ScheduleState(name: "s", schedule: schedule, anchor: 0, last: last * second)
    }

    @Test("a firing that is put off is not left out because something else happens before it is due")
    func jitter() throws {
        var schedule = Schedule("w", everySeconds: 100)
        (schedule.jitterSeconds, schedule.catchUpSeconds) = (60, 0)
        let state = Self.state(schedule, last: 100)
        let due = 200 * Self.second + schedule.jitter(of: 200 * Self.second, "s")
        for now in [150, 200, 210, 259] as [Int64] {
            let plan = try state.plan(at: now * Self.second)
            #expect(plan.next == 200 * Self.second && plan.missed == 0, "at \(now)")
        }
        // Resumed before it is due it fires, behind that it is left out.
        #expect(try state.dueTime(by: due - 1) < 200 * Self.second)
        #expect(try state.dueTime(by: due) == 200 * Self.second)
        #expect(try state.plan(at: 261 * Self.second).next == 300 * Self.second)
    }

    @Test("what comes too late is left out, and counted once")
    func missed() throws {
        var every = Schedule("w", everySeconds: 10)
        every.catchUpSeconds = 50
        var cron = Schedule("w", cron: "* * * * *")
        cron.catchUpSeconds = 600
        for (schedule, now, missed, next) in [(every, 205, 15, 160), (cron, 36_030, 590, 35_460)]
            as [(Schedule, Int64, Int, Int64)]
        {
            var state = Self.state(schedule, last: 0)
            let plan = try state.plan(at: now * Self.second)
            #expect(plan.missed == missed && plan.next == next * Self.second, "\(plan)")
            state.last = plan.last
            let again = try state.plan(at: now * Self.second)
            #expect(again.missed == 0 && again.next == plan.next)
        }
        #expect(try Self.state(every, last: 100).plan(at: 120 * Self.second).missed == 0)
    }

    @Test("without jitter, what lies before a moment was due")
    func resumed() throws {
        let state = Self.state(Schedule("w", everySeconds: 10), last: 100)
        #expect(try state.dueTime(by: 155 * Self.second) == 155 * Self.second)
        #expect(try state.dueTime(by: 55 * Self.second) == 100 * Self.second)
    }
}
