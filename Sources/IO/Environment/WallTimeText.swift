import Glibc

/// The calendar's way to write a moment, RFC 3339 in UTC with microseconds: "2025-11-21T03:08:12.123456Z".
extension WallTime {
    private static let nanosecondsPerDay: Int64 = 86_400 * 1_000_000_000

    /// The machine's clock, for programs around a node; inside one, the loop tells the time.
    package static var now: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// The moment as text. What is finer than a microsecond is cut.
    package var rfc3339: String {
        let (day, rest) = nanoseconds.flooredDivision(by: Self.nanosecondsPerDay)
        let date = Self.civilDate(daysSince1970: day)
        let seconds = rest / 1_000_000_000
        let time = [seconds / 3_600, seconds / 60 % 60, seconds % 60].map { Self.digits($0, 2) }
        return
            "\(Self.digits(date.year, 4))-\(Self.digits(date.month, 2))-\(Self.digits(date.day, 2))T"
            + time.joined(separator: ":") + "." + Self.digits(rest / 1_000 % 1_000_000, 6) + "Z"
    }

    /// Reads what `rfc3339` writes, with any number of digits after the point; nil for anything else.
    package init?(rfc3339 text: String) {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int64? {
            guard range.upperBound <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (48...57).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 48)
            }
            return value
        }
        guard bytes.count >= 20, bytes.last == UInt8(ascii: "Z"),
            bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
            bytes[10] == UInt8(ascii: "T"),
            bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
            let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        var fraction: Int64 = 0
        if bytes.count > 20 {
            let digits = bytes[20..<(bytes.count - 1)]
            guard bytes[19] == UInt8(ascii: "."), (1...9).contains(digits.count),
                let value = number(20..<(bytes.count - 1))
            else { return nil }
            fraction = (digits.count..<9).reduce(value) { value, _ in value * 10 }
        }
        let days = Self.daysSince1970(year: year, month: month, day: day)
        // A nanosecond count in 64 bits ends in 1677 and in 2262.
        let (midnight, isTooFar) = days.multipliedReportingOverflow(by: Self.nanosecondsPerDay)
        let (time, isBeyond) = midnight.addingReportingOverflow(
            (hour * 3_600 + minute * 60 + second) * 1_000_000_000 + fraction)
        guard !isTooFar, !isBeyond else { return nil }
        self.init(nanoseconds: time)
    }

    /// Howard Hinnant's `civil_from_days` (chrono-compatible low-level date algorithms): years start in March, so
    /// that the leap day is the last one.
    private static func civilDate(daysSince1970: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = (daysSince1970 + 719_468).flooredDivision(by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    /// `days_from_civil` of the same source.
    private static func daysSince1970(year: Int64, month: Int64, day: Int64) -> Int64 {
        let (era, yearOfEra) = (month <= 2 ? year - 1 : year).flooredDivision(by: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    private static func digits(_ value: Int64, _ count: Int) -> String {
        let text = "\(value)"
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}

extension Int64 {
    /// Quotient and remainder with 0 <= remainder < divisor, also for what is negative.
    fileprivate func flooredDivision(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
