/// When a schedule fires, as cron writes it: minute, hour, day of the month, month, day of the week, each "*", a number,
/// a range "1-5", a list "1,15", with a step "*/10" or "8-18/2". Sunday is 0 or 7. Where both days are restricted, one of
/// them is enough, as POSIX says.
struct CronExpression: Hashable, Sendable {
    /// The values of each field, as bits.
    private var minutes: UInt64
    private var hours: UInt64
    private var days: UInt64
    private var months: UInt64
    private var weekdays: UInt64
    private var anyDay: Bool
    private var anyWeekday: Bool
    /// Fires at certain hours: such a time comes once on a day on which the clocks are set back.
    private var hasHours: Bool

    /// - Throws: `WorkflowError` with `invalidInput`, naming the field.
    init(_ text: String) throws {
        let named = [
            "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
            "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *",
        ]
        let fields = (named[text] ?? text).split(separator: " ")
        guard fields.count == 5 else {
            throw WorkflowError(
                .invalidInput,
                "'\(text)' is no cron expression: minute, hour, day of the month, month, day of the week")
        }
        minutes = try Self.bits(fields[0], 0...59, "minute")
        hours = try Self.bits(fields[1], 0...23, "hour")
        days = try Self.bits(fields[2], 1...31, "day of the month")
        months = try Self.bits(fields[3], 1...12, "month")
        let weekdays = try Self.bits(fields[4], 0...7, "day of the week")
        self.weekdays = weekdays | (weekdays >> 7 & 1)
        (anyDay, anyWeekday, hasHours) = (fields[2] == "*", fields[4] == "*", fields[1] != "*")
    }

    private static func bits(_ field: Substring, _ range: ClosedRange<Int>, _ name: String) throws -> UInt64 {
        var bits: UInt64 = 0
        let wrong = WorkflowError(
            .invalidInput,
            "'\(field)' is no \(name) of a cron expression: numbers from \(range.lowerBound) to \(range.upperBound)")
        for part in field.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "/", omittingEmptySubsequences: false)
            guard sides.count <= 2, let step = sides.count == 2 ? Int(sides[1]) : 1, step > 0 else { throw wrong }
            var span = range
            if sides[0] != "*" {
                let ends = sides[0].split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
                guard let first = ends.first ?? nil, ends.count <= 2, let last = ends.last ?? nil, first <= last,
                    range.contains(first), range.contains(last)
                else { throw wrong }
                span = first...(ends.count == 1 && sides.count == 2 ? range.upperBound : last)
            }
            for value in stride(from: span.lowerBound, through: span.upperBound, by: step) {
                bits |= 1 << UInt64(value)
            }
        }
        return bits
    }

    private func matches(_ local: CivilTime) -> Bool {
        matchesDay(local) && hours >> UInt64(local.hour) & 1 == 1 && minutes >> UInt64(local.minute) & 1 == 1
    }

    private func matchesDay(_ local: CivilTime) -> Bool {
        guard months >> UInt64(local.month) & 1 == 1 else { return false }
        let (day, weekday) = (days >> UInt64(local.day) & 1 == 1, weekdays >> UInt64(local.weekday) & 1 == 1)
        return anyDay ? (anyWeekday || weekday) : anyWeekday ? day : day || weekday
    }

    /// The first minute behind a moment that fits, in seconds since 1970; nil where there is none within five years.
    ///
    /// A time that is left out when clocks are set forward counts at the moment behind; one that comes twice when they
    /// are set back counts the first time, unless the expression is of every hour.
    /// - Parameter offset: of the local time at a moment, both in seconds.
    func next(after moment: Int64, offset: (Int64) -> Int64) -> Int64? {
        var time = (moment / 60 + 1) * 60
        let end = moment + 5 * 366 * 86_400
        while time < end {
            let shift = offset(time)
            let before = offset(time - 60)
            if shift > before, hasHours {
                // The minutes that were left out.
                for skipped in stride(from: time + before, to: time + shift, by: 60) {
                    if matches(CivilTime(seconds: skipped)) { return time }
                }
            }
            let local = CivilTime(seconds: time + shift)
            let isRepeated = hasHours && offset(time - 3_600) - shift == 3_600
            if matches(local), !isRepeated { return time }
            let rest: Int64
            if !matchesDay(local) {
                rest = Int64(86_400 - local.hour * 3_600 - local.minute * 60)
            } else if hours >> UInt64(local.hour) & 1 == 0 {
                rest = Int64(3_600 - local.minute * 60)
            } else {
                rest = 60
            }
            // Not over a change of the clocks.
            time += offset(time + rest) == shift ? rest : 60
        }
        return nil
    }
}

/// A local time's fields, of seconds since 1970 on that local clock.
struct CivilTime: Hashable, Sendable {
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    /// 0 is Sunday.
    var weekday: Int

    /// The date is by Howard Hinnant's `civil_from_days` (chrono-compatible low-level date algorithms).
    init(seconds: Int64) {
        let days = Int(seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400)
        let rest = Int(seconds) - days * 86_400
        (hour, minute) = (rest / 3_600, rest / 60 % 60)
        weekday = ((days + 4) % 7 + 7) % 7
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    }
}
