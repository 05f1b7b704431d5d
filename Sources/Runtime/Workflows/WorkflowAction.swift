/// What can be asked of a run from outside. Each is replicated before it is acknowledged, may be asked of any node, and
/// holds whoever owns the run.
public enum WorkflowAction: UInt8, Codable, Sendable, CaseIterable {
    /// Asks the body to end. The next step or sleep that it begins, or the sleep that it is in, throws
    /// `WorkflowError.Code.cancelled`, once; the body may clean up with steps of any number, and goes on if it wants to.
    /// A run that waits to be resumed, or for a node, hears of it when it runs again.
    case cancel = 1
    /// Ends the run at once. The body's task is cancelled; nothing that it records afterwards counts.
    case terminate = 2
    /// Takes the run from its owner until it is resumed. A step that is under way is cancelled, and runs again then; time
    /// goes on, so a sleep may be over by then.
    case pause = 3
    /// Lets a paused run go on where it was.
    case resume = 4
    /// Runs a failed run again: what it recorded stays, so it goes on at the step that failed.
    case retry = 5

    /// - Returns: nil unless `name` is a case's name.
    public init?(name: String) {
        guard let action = Self.allCases.first(where: { "\($0)" == name }) else { return nil }
        self = action
    }
}
