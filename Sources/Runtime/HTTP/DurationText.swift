/// Durations as people write them: "500ms", "30s", "2m", "1h", "7d".
enum DurationText {
    /// What a wait may be at most: a day.
    static let limit: Duration = .seconds(86_400)
    /// What an age may be at most: ten years.
    static let ageLimit: Duration = .seconds(3_650 * 86_400)

    private static let units: [(suffix: String, milliseconds: Int64)] = [
        ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000),
        ("d", 86_400_000),
    ]

    /// - Returns: nil if the text is no whole number with a unit, or says more than `limit`.
    static func parse(_ text: some StringProtocol, limit: Duration = limit) -> Duration? {
        guard let unit = units.first(where: { text.hasSuffix($0.suffix) }) else { return nil }
        let digits = text.dropLast(unit.suffix.count)
        guard !digits.isEmpty, digits.allSatisfy({ ("0"..."9").contains($0) }),
            let number = Int64(digits)
        else { return nil }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
        guard !overflow else { return nil }
        let duration = Duration.milliseconds(milliseconds)
        return duration <= limit ? duration : nil
    }

    /// In the largest unit that says it exactly; below a millisecond nothing is said.
    static func text(_ duration: Duration) -> String {
        let milliseconds = duration.components.seconds * 1_000 + duration.components.attoseconds / 1_000_000_000_000_000
        guard milliseconds > 0, let unit = units.last(where: { milliseconds % $0.milliseconds == 0 }) else {
            return "0s"
        }
        return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
    }
}
