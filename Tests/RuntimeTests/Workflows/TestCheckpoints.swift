import FlotillaActors
import FlotillaIO
import FlotillaRaft

@testable import Flotilla

// Checkpoint stores for state machines and engines without a node.

extension GroupID {
    static let underTest = GroupID(2)
}

extension CheckpointJournal {
    static func inMemory(loop: any Loop) -> CheckpointJournal {
        CheckpointJournal(worker: CallerWorker(), loop: loop, logger: .silent) { MemoryCheckpointStore() }
    }
}

/// Does its work at once, where it is given.
struct CallerWorker: Worker {
    func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop
    ) {
        work()
        loop.execute(completion)
    }
    func shutdown() async {}
}

extension WorkflowStateMachine {
    /// One without a node.
    convenience init(of group: GroupID = .underTest, attention: @escaping @Sendable (GroupID) -> Void = { _ in }) {
        self.init(group: group, checkpoints: .inMemory(loop: CallerLoop()), attention: attention)
    }
}

/// Runs what it is given at once; a machine without a node needs no more of a loop.
final class CallerLoop: Loop {
    var now: MonotonicTime { MonotonicTime(nanoseconds: 0) }
    var wallNow: WallTime { WallTime(nanoseconds: 0) }
    func execute(_ work: @escaping @Sendable () -> Void) { work() }
    func enqueue(_ job: consuming ExecutorJob) { preconditionFailure("no actor lives here") }
    func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> TimerToken {
        preconditionFailure("time stands still here")
    }
    func cancel(_ timer: TimerToken) {}
    func preconditionOnLoop() {}
}
