import FlotillaIO

/// The demo's last screen.
enum DemoTable {
    /// How many of a list of faults are named.
    private static let shownFaults = 10

    static func show(_ report: DemoReport) { Terminal.write(text(report)) }

    static func text(_ report: DemoReport) -> String {
        var table = TextTable(["", ""], rightAligned: [1])
        table.add(["orders done", "\(report.ordersDone) of \(report.orders)"])
        table.add(["steps recorded", "\(report.stepsRecorded)"])
        table.add([
            "steps whose body ran more than once, in flight at a kill", "\(report.repeatedAtKill)",
        ])
        table.add(["steps whose body ran more than once otherwise", "\(report.repeatedElsewhere)"])
        table.add(["orders lost", "\(report.lost.count)"])
        table.add(["steps recorded twice", "\(report.recordedTwice.count)"])
        for (number, times) in report.recoveries.enumerated() {
            table.add([
                "kill \(number + 1) to the next recorded step of its \(times.count) orphans",
                summary(times),
            ])
        }
        var text = "\n" + table.text + "\n"
        for fault in (report.lost + report.recordedTwice + report.faults).prefix(shownFaults) {
            text += Style.red("  wrong: ") + fault + "\n"
        }
        if report.repeatedAtKill > 0 {
            text +=
                "A step that was in flight at a kill may run again: with the same idempotency key, so that whoever\n"
                + "is called can drop the repetition, and a higher fencing token. Its result is recorded once.\n"
        }
        return text
            + (report.passed
                ? Style.green("Passed: nothing lost, nothing recorded twice.")
                : Style.red("Failed.")) + "\n"
    }

    private static func summary(_ times: [Duration]) -> String {
        guard let median = Statistics.median(times), let p99 = Statistics.percentile(99, of: times)
        else {
            return "none had one"
        }
        return "median \(median.short), p99 \(p99.short)"
    }
}
