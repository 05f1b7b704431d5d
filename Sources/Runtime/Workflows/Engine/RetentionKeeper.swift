import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a group's leader does so that runs do not stay for ever after their end: it asks for one portion at a time, and
/// for the next once that one is applied.
final class RetentionKeeper: Sendable {
    /// What there is to do in a group.
    enum Duty {
        /// Until something changes.
        case nothing
        /// Not before this moment of the wall clock, in nanoseconds since 1970.
        case later(Int64)
        /// Propose this.
        case ask(Operation)
        /// It was proposed a moment ago.
        case asked
    }

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

    /// The machine's loop only.
    func duty(in machine: WorkflowStateMachine, of group: GroupID, now: MonotonicTime, wallNow: WallTime) -> Duty {
        guard let oldest = machine.state.finished.first?.key else {
            forget(group)
            return .nothing
        }
        guard machine.state.firstExpired(by: retention, at: wallNow.nanoseconds) != nil else {
            forget(group)
            guard let age = retention.age else { return .nothing }
            let (due, isNever) = oldest.finishedAt.addingReportingOverflow(age.clampedNanoseconds)
            return isNever ? .nothing : .later(due)
        }
        return asked.withLock { asked in
            if let last = asked[group], last.oldest == oldest, last.time.duration(to: now) < Self.retryInterval {
                return .asked
            }
            asked[group] = Asked(oldest: oldest, time: now)
            return .ask(WorkflowOperation.pruneFinished(keeping: retention, limit: UInt32(portion)).encoded)
        }
    }

    /// The group is led by another node, or has nothing to remove.
    func forget(_ group: GroupID) { asked.withLock { $0[group] = nil } }
}
