import FlotillaIO

/// A schedule as its workflow carries it from one execution to the next.
struct ScheduleState: Codable, Hashable, Sendable {
    struct Running: Codable, Hashable, Sendable {
        var child: StepKey
        var workflowID: String
        var isToEnd = false
    }

    /// Firings that wait; more are left out.
    static let queueMax = 1_000
    static let recentMax = 10

    var name: String
    var schedule: Schedule
    /// What intervals are counted from.
    var anchor: Int64
    /// Firings up to here have been dealt with.
    var last: Int64
    var isPaused = false
    var note = ""
    var running: Running?
    var queue: [Int64] = []
    var fired = 0
    var skipped = 0
    var recent: [ScheduleDescription.Firing] = []
    var problem: String?

    /// The workflow id of a firing: the same whoever decides about it, so that it is started once.
    func workflowID(of firing: Int64) -> String {
        let text = WallTime(nanoseconds: firing).rfc3339
        // Whole seconds, mostly.
        let short = text.hasSuffix(".000000Z") ? String(text.dropLast(8)) + "Z" : text
        return "\(name)@\(short)"
    }

    /// The firings from a moment on, and before another one. There are none before 1970.
    func firings(from start: Int64, to end: Int64, limit: Int) throws -> [Int64] {
        var firings: [Int64] = []
        var time = max(start, 0) - 1
        while firings.count < limit, let next = try schedule.next(after: time, anchor: anchor), next < end {
            firings.append(next)
            time = next
        }
        return firings
    }

    /// What comes next.
    struct Plan: Codable, Hashable, Sendable {
        /// Nil where there is none.
        var next: Int64?
        /// Firings up to here fire no more.
        var last: Int64
        /// How many of those have not fired.
        var missed: Int
    }

    /// What comes next as of a moment. A firing that is put off waits until it is due, whatever happens before.
    func plan(at now: Int64) throws -> Plan {
        let patience = Int64(schedule.catchUpSeconds + schedule.jitterSeconds) * Schedule.second
        let time = max(last, now - patience)
        return Plan(
            next: try schedule.next(after: time, anchor: anchor), last: time,
            missed: try schedule.count(after: last, through: time, anchor: anchor))
    }

    /// Up to where firings have been due by a moment.
    func dueTime(by now: Int64) throws -> Int64 {
        guard schedule.jitterSeconds > 0 else { return max(last, now) }
        var time = max(last, now - Int64(schedule.jitterSeconds) * Schedule.second)
        while let next = try schedule.next(after: time, anchor: anchor), next + schedule.jitter(of: next, name) <= now {
            time = next
        }
        return time
    }

    var description: ScheduleDescription {
        let next = isPaused ? [] : (try? firings(from: last + 1, to: .max, limit: 5)) ?? []
        return ScheduleDescription(
            name: name, schedule: schedule, isPaused: isPaused, note: note,
            next: next.map { $0 + schedule.jitter(of: $0, name) }, running: running?.workflowID, queued: queue.count,
            fired: fired, skipped: skipped, recent: recent, problem: problem)
    }
}

extension Schedule {
    /// What intervals are counted from has no fraction of a second, so that the ids of firings have none.
    static func wholeSeconds(_ time: WallTime) -> Int64 { time.nanoseconds / 1_000_000_000 * 1_000_000_000 }
}
