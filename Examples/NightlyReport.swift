import Flotilla

/// A workflow that starts every night, by the clock of a place; here it is made to fire once more, now.
struct NightlyReport: Example {
    static let name = "nightly-report"
    static let summary = "a schedule with a time zone, and a firing by hand"

    let report = Workflow("nightly_report", version: 1) {
        (region: String, context: WorkflowContext) async throws -> String in
        let sales = try await context.step("add-up") { _ in region.utf8.count * 1_000 }
        return try await context.step("write") { _ in "\(region): \(sales) cents" }
    }
    var workflows: [any RegisterableWorkflow] { [report] }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        let schedule = Schedule("nightly_report", cron: "30 2 * * *", timeZone: "Europe/Berlin", input: "north")
        let made = try await node.createSchedule("reports", schedule)
        say("'reports' fires at half past two in Berlin: \(made.next.count) firings are known ahead")

        let fired = try await node.changeSchedule("reports", .trigger)
        guard let firing = fired.recent.last else { return say("nothing was started") }
        say("fired by hand: \(try await node.result(of: firing.workflowID, as: String.self))")
        try await node.deleteSchedule("reports")
    }
}
