/// What became of an update.
public enum UpdateOutcome: Hashable, Sendable {
    /// The body's answer, in JSON.
    case replied([UInt8])
    case rejected(WorkflowFailure)
}
