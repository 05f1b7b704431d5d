import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a leader does, with every tick of its node, so that runs do not stay for ever after their end: it asks for one
/// portion at a time, and for the next once that one is applied.
final class RetentionKeeper: Sendable {
    /// A command that was not applied within this time is asked for again: its leader may have lost its place.
    static let retryInterval: Duration = .seconds(1)

    private struct Asked {
        var oldest: FinishPosition
        var time: MonotonicTime
    }

    private let retention: WorkflowRetention
    private let portion: Int
    private let asked = Lock<[GroupID: Asked]>([:])

    /// - Parameter portion: how many runs one command removes.
    init(_ retention: WorkflowRetention, portion: Int) {
        self.retention = retention
        self.portion = portion
    }

    /// - Returns: what to propose now. The machine's loop only.
    func operation(for machine: WorkflowStateMachine, of group: GroupID, now: MonotonicTime, wallNow: WallTime)
        -> Operation?
    {
        guard let oldest = machine.state.finished.first?.key,
            machine.state.firstExpired(by: retention, at: wallNow.nanoseconds) != nil
        else { return nil }
        return asked.withLock { asked in
            if let last = asked[group], last.oldest == oldest, last.time.duration(to: now) < Self.retryInterval {
                return nil
            }
            asked[group] = Asked(oldest: oldest, time: now)
            return WorkflowOperation.pruneFinished(keeping: retention, limit: UInt32(portion)).encoded
        }
    }
}
