import FlotillaIO

/// What a scenario has measured so far. Any task.
final class Recorder: Sendable {
    private let state: Lock<Report>
    let progress = Progress()

    fileprivate init(_ report: Report) { state = Lock(report) }

    var report: Report { state.withLock { $0 } }

    /// Adds a sample.
    /// - Parameters:
    ///   - name: of the figure, with its unit.
    ///   - setting: with what it was measured.
    func add(
        _ value: Double, _ name: String, _ setting: String = "", of contestant: String = Report.ours,
        isBetterHigher: Bool = false
    ) {
        state.withLock { $0.add(value, name, setting, of: contestant, isBetterHigher: isBetterHigher) }
    }

    fileprivate func complete() { state.withLock { $0.isComplete = true } }
}

extension Report {
    /// The contestant that this project is.
    static let ours = "flotilla"
}

/// The option that every scenario with a report takes.
let reportOption = CommandDescription.Option.value("out", "PATH", "also write PATH.json and PATH.html")

/// Runs a scenario, prints its tables, and writes its report where `--out` asks for one: also what was measured before an
/// interruption or a failure.
func withReport(
    _ scenario: String, _ options: ParsedOptions, parameters: [String: String] = [:], conditions: [String],
    _ body: (Recorder) async throws -> Void
) async throws {
    var report = Report(scenario: scenario)
    report.parameters = parameters
    report.conditions = conditions
    let recorder = Recorder(report)
    let out = options.string("out")
    do {
        try await body(recorder)
        recorder.complete()
    } catch {
        recorder.progress.clear()
        let report = recorder.report
        guard !report.measures.isEmpty else { throw error }
        Terminal.writeLine("Not complete; what was measured until then:\n\n\(report.text)", to: .error)
        if let out {
            try report.write(to: out)
            Terminal.writeLine("Written: \(out).json, \(out).html", to: .error)
        }
        throw error
    }
    recorder.progress.clear()
    recorder.progress.line(recorder.report.text)
    if let out {
        try recorder.report.write(to: out)
        recorder.progress.line("Written: \(out).json, \(out).html")
    }
}
