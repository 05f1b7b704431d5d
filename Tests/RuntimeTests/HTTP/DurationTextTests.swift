import Testing

@testable import Flotilla

@Suite("DurationText")
struct DurationTextTests {
    @Test(
        "whole numbers with a unit are durations",
        arguments: [
            ("0s", Duration.zero), ("500ms", .milliseconds(500)), ("30s", .seconds(30)),
            ("2m", .seconds(120)),
            ("24h", .seconds(86_400)),
        ])
    func parsed(text: String, duration: Duration) { #expect(DurationText.parse(text) == duration) }

    @Test(
        "everything else is not",
        arguments: [
            "", "s", "ms", "30", "-1s", "+1s", "1.5s", "1 s", "25h", "9223372036854775807h",
            "99999999999999999999s", "٣s",
        ])
    func refused(text: String) { #expect(DurationText.parse(text) == nil) }

    @Test("an age may be longer than a wait")
    func ages() {
        #expect(DurationText.parse("30d", limit: DurationText.ageLimit) == .seconds(30 * 86_400))
        #expect(DurationText.parse("1d") == .seconds(86_400) && DurationText.parse("2d") == nil)
        #expect(DurationText.parse("3651d", limit: DurationText.ageLimit) == nil)
    }
}
