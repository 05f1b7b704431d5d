/// What became of an update.
public enum UpdateOutcome: Hashable, Sendable {
    /// The body's answer, in JSON.
    case replied([UInt8])
    /// Why the body, or the code that decodes its input, said no.
    case rejected(WorkflowFailure)
}
