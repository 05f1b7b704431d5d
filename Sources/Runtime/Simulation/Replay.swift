public import Flotilla

/// Runs a workflow against what a run of it has recorded, for debugging and before a change is deployed: its body gets
/// the recorded results, and no step's body runs. It passes where the code asks for exactly what is recorded, and ends
/// as the run ended; where the run had not ended, the code may go on behind the history.
///
/// ```swift
/// let history = try WorkflowHistory(json: bytes)  // of `flotilla workflow history order-17 --json`
/// try await replay(history: history, against: orderProcessing)
/// ```
///
/// - Parameters:
///   - history: whole and with its values: of `Node.wholeHistory(of:)`, or from a file.
///   - workflow: any version of the type; whether it fits is what comes out.
/// - Throws: `ReplayMismatch`; `WorkflowError` with `invalidInput` where the history cannot be replayed.
public func replay(history: WorkflowHistory, against workflow: any RegisterableWorkflow) async throws {
    let definition = workflow.definition
    guard definition.name == history.info.type else {
        throw WorkflowError(
            .invalidInput, "the history is one of '\(history.info.type)', the workflow is '\(definition.name)'")
    }
    guard let difference = try await HistoryReplay(history, against: definition).difference() else { return }
    throw ReplayMismatch(
        workflowID: history.info.workflowID, type: definition.type, lines: difference.lines, end: difference.end)
}

/// The code does not do what was recorded.
public struct ReplayMismatch: Error, Hashable, Sendable, CustomStringConvertible {
    /// Whose history it was.
    public var workflowID: String
    /// Of the code.
    public var type: WorkflowType
    /// Each recorded step, sleep and checkpoint, in the order of time, and the first one that only the code has. Lines
    /// begin with "- " where only the history has it, with "+ " where only the code asks for it.
    public var lines: [String]
    /// How the run ended and how the code ends, where they differ.
    public var end: String?

    public var description: String {
        let text =
            "\(type) does not do what run '\(workflowID)' recorded (- recorded only, + asked for only):\n"
            + lines.joined(separator: "\n")
        return end.map { text + "\n" + $0 } ?? text
    }
}
