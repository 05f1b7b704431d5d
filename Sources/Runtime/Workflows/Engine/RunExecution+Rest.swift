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
    }

    /// A replay of a thousand steps takes some milliseconds: no more than a hundredth of the time that it rested.
    private static let restPerRecord: Duration = .milliseconds(1)

    /// So short that nothing is gained, and so long that it is for ever, without an overflow of a sum.
    static let restPauses: ClosedRange<Duration> = .milliseconds(10) ... .seconds(365 * 86_400)

    /// A call that may wait begins.
    func enterCall() { enter { $0.callCount += 1 } }
    func leaveCall() { leave { $0.callCount -= 1 } }

    /// A call has nothing to do until something happens.
    /// - Parameter until: the wall clock, in nanoseconds since 1970; nil where only others end the wait.
    func beginWait(until: Int64?) -> UInt64 {
        enter { activity in
            activity.callCount -= 1
            activity.waitCount += 1
            activity.waits[activity.waitCount] = .some(until)
            return activity.waitCount
        }
    }

    func endWait(_ wait: UInt64) {
        leave { activity in
            activity.waits[wait] = nil
            activity.callCount += 1
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

    private func enter<Result>(_ change: (inout Activity) -> Result) -> Result {
        let now = environment.loop.now
        return progress.withLock { progress in
            progress.activity.last = now
            if progress.activity.rests { progress.activity.isDisturbed = true }
            return change(&progress.activity)
        }
    }

    private func leave(_ change: (inout Activity) -> Void) {
        let now = environment.loop.now
        progress.withLock { progress in
            progress.activity.last = now
            change(&progress.activity)
        }
    }
}
