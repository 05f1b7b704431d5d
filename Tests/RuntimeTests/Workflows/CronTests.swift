import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Times of schedules")
struct CronTests {
    private func time(_ text: String) throws -> Int64 { try #require(WallTime(rfc3339: text)).nanoseconds }

    private func texts(_ schedule: Schedule, after start: String, count: Int) throws -> [String] {
        let state = ScheduleState(name: "s", schedule: schedule, anchor: 0, last: 0)
        let firings = try state.firings(from: try time(start) + 1, to: .max, limit: count)
        return firings.map { String(WallTime(nanoseconds: $0).rfc3339.prefix(16)) }
    }

    @Test(
        "cron expressions name the minutes that they say",
        arguments: [
            ("*/20 * * * *", ["2026-01-31T23:20", "2026-01-31T23:40", "2026-02-01T00:00"]),
            ("30 6 * * 1-5", ["2026-02-02T06:30", "2026-02-03T06:30", "2026-02-04T06:30"]),
            ("0 12 29 2 *", ["2028-02-29T12:00"]),
            ("15,45 8-10/2 * * 0", ["2026-02-01T08:15", "2026-02-01T08:45", "2026-02-01T10:15"]),
            ("0 0 13 * 7", ["2026-02-01T00:00", "2026-02-08T00:00", "2026-02-13T00:00"]),
            ("5/25 0 1 1 *", ["2027-01-01T00:05", "2027-01-01T00:30", "2027-01-01T00:55"]),
            ("@monthly", ["2026-02-01T00:00", "2026-03-01T00:00", "2026-04-01T00:00"]),
        ])
    func expressions(text: String, expected: [String]) throws {
        let found = try texts(Schedule("w", cron: text), after: "2026-01-31T23:00:00Z", count: expected.count)
        #expect(found == expected)
    }

    @Test(
        "what is no cron expression is refused, with the field that is wrong",
        arguments: [
            ("* * * *", "cron expression"), ("60 * * * *", "minute"), ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"), ("* * * * 8", "day of the week"), ("a * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("*/0 * * * *", "minute"), ("1, * * * *", "minute"), ("1-2-3 * * * *", "minute"), ("-1 * * * *", "minute"),
        ])
    func refusals(text: String, words: String) {
        let error = #expect(throws: WorkflowError.self) { try CronExpression(text) }
        #expect(error?.code == .invalidInput && error?.message.contains(words) == true, "\(error?.message ?? "")")
    }

    @Test("a local time that is left out counts at the moment behind, one that comes twice counts once")
    func clockChanges() throws {
        // Berlin: 2026-03-29 02:00 becomes 03:00, and 2026-10-25 03:00 becomes 02:00.
        let daily = Schedule("w", cron: "30 2 * * *", timeZone: "Europe/Berlin")
        #expect(
            try texts(daily, after: "2026-03-27T12:00:00Z", count: 3)
                == ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"])
        #expect(
            try texts(daily, after: "2026-10-23T12:00:00Z", count: 3)
                == ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"])
        let hourly = Schedule("w", cron: "30 * * * *", timeZone: "Europe/Berlin")
        #expect(
            try texts(hourly, after: "2026-10-24T23:59:00Z", count: 3)
                == ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"])
        let noon = Schedule("w", cron: "0 12 * * *", timeZone: "America/New_York")
        #expect(
            try texts(noon, after: "2026-03-07T00:00:00Z", count: 3)
                == ["2026-03-07T17:00", "2026-03-08T16:00", "2026-03-09T16:00"])
    }

    @Test("the search that skips finds what the one finds that looks at every minute")
    func property() throws {
        for seed in Simulation.seeds(30) {
            var random = SeededGenerator(seed: seed)
            func field(_ range: ClosedRange<Int>) -> String {
                switch random.next() % 3 {
                case 0: "*"
                case 1: "\(Int.random(in: range, using: &random))"
                default: "*/\(Int.random(in: 1...range.upperBound, using: &random))"
                }
            }
            let text = [field(0...59), field(0...23), field(1...28), "*", field(0...6)].joined(separator: " ")
            let cron = try CronExpression(text)
            let start = Int64.random(in: 0...4_000_000_000, using: &random)
            let shift = Int64.random(in: -12...14, using: &random) * 1_800
            // A fixed offset: one minute after the other is all there is to it.
            var slow = (start / 60 + 1) * 60
            while slow < start + 40 * 86_400,
                try CronExpression("* * * * *").next(after: slow - 60, offset: { _ in shift })
                    != cron.next(after: slow - 60, offset: { _ in shift })
            { slow += 60 }
            let fast = cron.next(after: start) { _ in shift }
            #expect(fast.map { $0 >= start + 40 * 86_400 } ?? true || fast == slow, "seed \(seed): '\(text)'")
        }
    }

    @Test("intervals are counted from their anchor, jitter is a firing's own, and nonsense is refused")
    func intervals() throws {
        let second: Int64 = 1_000_000_000
        let every = Schedule("w", everySeconds: 10)
        #expect(try every.next(after: 3 * second, anchor: 5 * second) == 15 * second)
        #expect(try every.next(after: 15 * second, anchor: 5 * second) == 25 * second)
        #expect(try every.next(after: 25 * second - 1, anchor: 5 * second) == 25 * second)
        // Times far off are none, and break nothing.
        #expect(try every.next(after: .min, anchor: 5 * second) == 15 * second)
        #expect(try every.next(after: .max, anchor: 5 * second) == nil)
        for schedule in [every, Schedule("w", cron: "0 0 1 1 *")] {
            let state = ScheduleState(name: "s", schedule: schedule, anchor: 1_790_000_000 * second, last: 0)
            #expect(try state.firings(from: .min, to: 0, limit: 10) == [])
            #expect(try state.firings(from: .min, to: .max, limit: 2).allSatisfy { $0 > 0 })
            #expect(try state.firings(from: .max, to: .max, limit: 2) == [])
        }
        var jittered = every
        jittered.jitterSeconds = 4
        let offsets = (0..<100).map { jittered.jitter(of: $0 * 10 * second, "s") }
        #expect(offsets == (0..<100).map { jittered.jitter(of: $0 * 10 * second, "s") })
        #expect(offsets.allSatisfy { (0..<4 * second).contains($0) } && Set(offsets).count > 50)
        var bad: [Schedule] = [
            Schedule("w", cron: "0 0 31 2 *"), Schedule("w", cron: "@daily", timeZone: "Nowhere/Else"),
            Schedule("w", everySeconds: 0), Schedule("", everySeconds: 1), Schedule("$schedule", everySeconds: 1),
        ]
        bad.append(every)
        bad[5].cron = "@daily"
        for schedule in bad { #expect(throws: WorkflowError.self) { try schedule.check(at: 0) } }
    }
}
