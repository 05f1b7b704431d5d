private import FoundationEssentials
// Brings the names of time zones.
private import FoundationInternationalization

/// What a firing does while the workflow of the one before has not ended.
public enum ScheduleOverlap: String, Codable, Sendable, CaseIterable {
    /// Nothing: the firing is left out.
    case skip
    /// It waits until the one before has ended.
    case queue
    /// It asks the one before to end, and begins then.
    case cancel
    /// It begins all the same.
    case allow
}

/// Which workflow is started when; see `Node.createSchedule`.
public struct Schedule: Codable, Hashable, Sendable {
    /// The type of the workflow that is started.
    public var workflow: String
    /// Nil takes the newest one at each firing.
    public var version: UInt32?
    /// What each workflow is started with.
    public var input: JSONValue = .null
    /// What lists find each workflow by.
    public var attributes: [String: String] = [:]
    /// Minute, hour, day of the month, month and day of the week, or one of @hourly, @daily, @weekly, @monthly, @yearly.
    /// Either this or `everySeconds` says when.
    public var cron: String?
    /// Whose clock `cron` goes by: a name such as "Europe/Berlin".
    public var timeZone = "UTC"
    /// The seconds between two firings, ten years at most.
    public var everySeconds: Int?
    /// Each firing is put off by a part of this, always the same of one firing: so that many schedules of one time do not
    /// fire together.
    public var jitterSeconds = 0
    /// What a firing does while the workflow of the one before has not ended.
    public var overlap = ScheduleOverlap.skip
    /// Firings that come too late by more, because the cluster was down, are left out.
    public var catchUpSeconds = 3_600

    /// A schedule by the clock of a time zone. It is checked where it is given to a node.
    public init(_ workflow: String, cron: String, timeZone: String = "UTC", input: JSONValue = .null) {
        self.workflow = workflow
        self.cron = cron
        self.timeZone = timeZone
        self.input = input
    }

    /// A schedule by an interval, which is counted from when it is given to a node.
    public init(_ workflow: String, everySeconds: Int, input: JSONValue = .null) {
        self.workflow = workflow
        self.everySeconds = everySeconds
        self.input = input
    }
}

extension Schedule {
    static let second: Int64 = 1_000_000_000
    /// Firings that are counted where many are left out at once.
    private static let countMax = 100_000

    /// - Throws: `WorkflowError` with `invalidInput`, naming what is wrong.
    func check(at time: Int64) throws {
        guard !workflow.isEmpty, !workflow.hasPrefix("$") else {
            throw WorkflowError(.invalidInput, "'\(workflow)' is no workflow that a schedule can start")
        }
        guard (cron == nil) != (everySeconds == nil) else {
            throw WorkflowError(.invalidInput, "a schedule has either a cron expression or an interval")
        }
        if let everySeconds, !(1...10 * 366 * 86_400).contains(everySeconds) {
            throw WorkflowError(.invalidInput, "an interval of \(everySeconds) s is not between a second and ten years")
        }
        guard (0...86_400).contains(jitterSeconds), (0...366 * 86_400).contains(catchUpSeconds) else {
            throw WorkflowError(.invalidInput, "jitter is a day at most, and the time to catch up a year")
        }
        guard TimeZone(identifier: timeZone) != nil else {
            throw WorkflowError(.invalidInput, "there is no time zone '\(timeZone)'; write it like Europe/Berlin")
        }
        _ = try RunAttributes(checking: attributes)
        guard try next(after: time, anchor: time) != nil else {
            throw WorkflowError(.invalidInput, "'\(cron ?? "")' names no time within five years")
        }
    }

    /// The first firing behind a moment, without its jitter; nil where there is none. In nanoseconds since 1970.
    /// - Parameter anchor: what intervals are counted from.
    func next(after time: Int64, anchor: Int64) throws -> Int64? {
        if let everySeconds {
            let time = max(time, anchor)
            let interval = Int64(everySeconds) * Self.second
            let (next, isTooFar) = (time - (time - anchor) % interval).addingReportingOverflow(interval)
            return isTooFar ? nil : next
        }
        guard let zone = TimeZone(identifier: timeZone) else {
            throw WorkflowError(.invalidInput, "there is no time zone '\(timeZone)'")
        }
        let next = try CronExpression(cron ?? "").next(after: time / Self.second) { moment in
            Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(moment))))
        }
        let (time, isTooFar) = (next ?? 0).multipliedReportingOverflow(by: Self.second)
        return next == nil || isTooFar ? nil : time
    }

    /// How many firings there are behind a moment, up to another one.
    /// - Returns: of a cron expression 100,000 at most.
    func count(after start: Int64, through end: Int64, anchor: Int64) throws -> Int {
        if let everySeconds {
            let interval = Int64(everySeconds) * Self.second
            return Int(max(0, (end - anchor) / interval - max(0, start - anchor) / interval))
        }
        var (count, time) = (0, start)
        while count < Self.countMax, let next = try next(after: time, anchor: anchor), next <= end {
            (count, time) = (count + 1, next)
        }
        return count
    }

    /// By how much a firing is put off, in nanoseconds.
    func jitter(of firing: Int64, _ name: String) -> Int64 {
        guard jitterSeconds > 0 else { return 0 }
        // FNV-1a (Fowler, Noll, Vo), 64 bits.
        let hash = "\(name)/\(firing)".utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01B3
        }
        return Int64((hash >> 8) % UInt64(Int64(jitterSeconds) * Self.second))
    }
}

/// What can be asked of a schedule.
public enum ScheduleCommand: Codable, Hashable, Sendable {
    /// Nothing fires until it is resumed.
    case pause(note: String)
    /// What would have fired meanwhile is left out.
    case resume
    /// Other times, or another workflow; what was fired and left out stays counted.
    case replace(Schedule)
    /// Fires now as well.
    case trigger
    /// Fires for what lies between two moments, in nanoseconds since 1970, one after the other unless overlaps are
    /// allowed.
    case backfill(from: Int64, to: Int64)
}

/// A schedule, and what came of it. Times are in nanoseconds since 1970.
public struct ScheduleDescription: Codable, Hashable, Sendable {
    /// A firing that has started a workflow.
    public struct Firing: Codable, Hashable, Sendable {
        /// When it was due, without its jitter.
        public var time: Int64
        /// The workflow that it started.
        public var workflowID: String
    }

    /// The schedule's name.
    public var name: String
    /// When it fires, and what that starts.
    public var schedule: Schedule
    /// It fires no more until it is resumed.
    public var isPaused: Bool
    /// Why it is paused; empty where nobody said.
    public var note: String
    /// The next five, with their jitter; none while it is paused.
    public var next: [Int64]
    /// The workflow of the last firing, unless it has ended, or overlaps are allowed.
    public var running: String?
    /// Firings that wait.
    public var queued: Int
    /// How many workflows it has started.
    public var fired: Int
    /// Firings that were left out.
    public var skipped: Int
    /// The last ten.
    public var recent: [Firing]
    /// Why the last firing started nothing.
    public var problem: String?
}
