import FlotillaActors
import FlotillaIO

// A body that only waits is taken out of memory, and replayed when there is something to go on with. To the body it looks
// like a takeover.

extension RunExecution {
    /// What the body's branches are at.
    struct Activity {
        /// Calls of the context that do something; those that wait are not among them.
        var callCount = 0
        /// When each wait is over by itself, on the wall clock; nil where only others end it.
        var waits: [UInt64: Int64?] = [:]
        var waitCount: UInt64 = 0
        /// The last time that a call began or ended, or a wait did.
        var last: MonotonicTime
        /// What this owner has had recorded.
        var recordCount: UInt64 = 0
        /// The body has been put to rest.
        var rests = false
        /// The body wanted something after it had been put to rest: a branch of it did not wait.
        var isDisturbed = false

        /// When the first wait is over by itself.
        var nextEnd: Int64? { waits.values.compactMap(\.self).min() }

        /// The body wants something.
        mutating func enter(_ now: MonotonicTime) {
            callCount += 1
            last = now
            if rests { isDisturbed = true }
        }

        mutating func leave(_ now: MonotonicTime) {
            callCount -= 1
            last = now
        }
    }

    /// What is replayed grows with the record, so a run with a long one has to have waited for longer.
    private static let restPerRecord: Duration = .milliseconds(1)

    /// So short that nothing is gained, and so long that it is for ever, without an overflow of a sum.
    static let restPauses: ClosedRange<Duration> = .milliseconds(10) ... .seconds(365 * 86_400)

    /// A call that may wait begins.
    func enterCall() {
        let now = environment.loop.now
        progress.withLock { $0.activity.enter(now) }
    }

    func leaveCall() {
        let now = environment.loop.now
        progress.withLock { $0.activity.leave(now) }
    }

    /// A call has nothing to do until something happens.
    /// - Parameter until: the wall clock, in nanoseconds since 1970; nil where only others end the wait.
    func beginWait(until: Int64?) -> UInt64 {
        let now = environment.loop.now
        return progress.withLock { progress in
            progress.activity.leave(now)
            progress.activity.waitCount += 1
            progress.activity.waits[progress.activity.waitCount] = .some(until)
            return progress.activity.waitCount
        }
    }

    func endWait(_ wait: UInt64) {
        let now = environment.loop.now
        progress.withLock { progress in
            progress.activity.waits[wait] = nil
            progress.activity.callCount += 1
            progress.activity.last = now
        }
    }

    /// Something has happened to the run, of which its body will hear.
    func touch() {
        let now = environment.loop.now
        progress.withLock { $0.activity.last = now }
    }

    /// Puts the run to rest if its body has done nothing but wait for a while. Its context records nothing from then on.
    /// - Returns: nil where it goes on, else when it is to wake by itself.
    func rest(after pause: Duration) -> Int64?? {
        let (now, wallNow) = (environment.loop.now, environment.loop.wallNow.nanoseconds)
        return progress.withLock { progress -> Int64?? in
            let activity = progress.activity
            guard !progress.isOver, activity.callCount == 0 || mutated(.restsBesideSteps), !activity.waits.isEmpty
            else { return nil }
            let records = Int64(clamping: recordedCount + activity.recordCount)
            let pause = min(max(pause, Self.restPerRecord * records), Self.restPauses.upperBound)
            guard activity.last.advanced(by: pause) <= now else { return nil }
            let end = activity.nextEnd
            // Not worth it.
            let (worthIt, isTooLarge) = wallNow.addingReportingOverflow(pause.clampedNanoseconds)
            if let end, !isTooLarge, end < worthIt { return nil }
            progress.isOver = true
            progress.activity.rests = true
            return .some(end)
        }
    }

    var isDisturbed: Bool { progress.withLock { $0.activity.isDisturbed } }
}
