/// What a state machine keeps on disk beside its replicated state, because it may outgrow memory and every snapshot. It
/// follows from the commands that were applied, as the state does.
///
/// A member that gets a snapshot asks others for what it lacks of it, question by question, before the snapshot counts
/// as received. Calls block, so they are made on a worker.
public protocol StateCompanion: AnyObject, Sendable {
    /// - Parameter state: what `SnapshotView.serialize` wrote.
    /// - Returns: what to ask a member next that has applied this state; nil if nothing is missing here, and all of it is
    ///   durable.
    func question(for state: [UInt8], formatVersion: UInt32) throws(LogError) -> [UInt8]?
    /// - Returns: a part of what was asked for, about a megabyte at most.
    func answer(to question: [UInt8]) throws(LogError) -> [UInt8]
    /// Takes in the answer to the last question.
    func take(_ answer: [UInt8]) throws(LogError)
}
