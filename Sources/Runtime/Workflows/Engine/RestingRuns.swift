import FlotillaIO

/// This node's runs that only wait and have left its memory, with the times at which they go on by themselves, and those
/// that came with many others and have not been in its memory yet. A part of the engine's state, under its lock.
struct RestingRuns {
    private struct Resting {
        var epoch: UInt64
        var wake: Wake?
        var turn: UInt64?
    }

    /// A moment of the wall clock, in nanoseconds since 1970. Several of one moment are told apart.
    private struct Wake: Comparable, Sendable {
        var until: Int64
        var number: UInt64

        static func < (a: Wake, b: Wake) -> Bool { (a.until, a.number) < (b.until, b.number) }
    }

    private var runs: [RunKey: Resting] = [:]
    private var wakes = OrderedMap<Wake, RunKey>()
    private var wakeCount: UInt64 = 0
    /// Of those that have not been here yet, and are to begin when there is room for them.
    private var turns = OrderedMap<UInt64, RunKey>()
    private var turnCount: UInt64 = 0

    var hasPutOff: Bool { turns.first != nil }
    var count: Int { runs.count }
    /// When the first of them goes on.
    var firstWake: Int64? { wakes.first?.key.until }

    func contains(_ assignment: Assignment) -> Bool { runs[assignment.key]?.epoch == assignment.epoch }

    /// - Parameter until: nil for a run that waits for others alone.
    mutating func insert(_ assignment: Assignment, until: Int64?) {
        remove(assignment.key)
        var resting = Resting(epoch: assignment.epoch)
        if let until {
            wakeCount += 1
            let wake = Wake(until: until, number: wakeCount)
            resting.wake = wake
            wakes.insert(assignment.key, for: wake)
        }
        runs[assignment.key] = resting
    }

    /// A run that goes on when its turn comes, or something happens to it.
    mutating func putOff(_ assignment: Assignment) {
        remove(assignment.key)
        turnCount += 1
        turns.insert(assignment.key, for: turnCount)
        runs[assignment.key] = Resting(epoch: assignment.epoch, turn: turnCount)
    }

    /// Takes out those that were put off first.
    mutating func takePutOff(limit: Int) -> [Assignment] {
        var taken: [Assignment] = []
        while taken.count < limit, let (_, key) = turns.first {
            guard let resting = runs[key] else { preconditionFailure("run \(key) is not put off") }
            taken.append(Assignment(key: key, epoch: resting.epoch))
            remove(key)
        }
        return taken
    }

    mutating func remove(_ key: RunKey) {
        guard let resting = runs.removeValue(forKey: key) else { return }
        if let wake = resting.wake { wakes.remove(wake) }
        if let turn = resting.turn { turns.remove(turn) }
    }

    /// Takes out the runs that go on at a time, the first first.
    mutating func takeDue(at time: Int64, limit: Int) -> [Assignment] {
        var due: [Assignment] = []
        while due.count < limit, let (wake, key) = wakes.first, wake.until <= time {
            guard let resting = runs[key] else { preconditionFailure("run \(key) does not rest") }
            due.append(Assignment(key: key, epoch: resting.epoch))
            remove(key)
        }
        return due
    }

    mutating func removeAll() { self = RestingRuns() }
}
