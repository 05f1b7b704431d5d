import FlotillaIO
import Foundation

/// Time that runs like the machine's, and that a test can set forward.
final class TestClock: Sendable {
    private let offset = Lock<UInt64>(0)
    private let loops = Lock<[TestLoop]>([])

    var now: MonotonicTime {
        MonotonicTime(nanoseconds: DispatchTime.now().uptimeNanoseconds + offset.withLock { $0 })
    }
    /// Begins near the real clock; moves with `now`.
    var wallNow: WallTime {
        WallTime(nanoseconds: 1_700_000_000_000_000_000 + Int64(now.nanoseconds))
    }

    func advance(by duration: Duration) {
        offset.withLock { $0 += UInt64(duration.components.seconds) * 1_000_000_000 }
        for loop in loops.withLock({ $0 }) { loop.execute {} }
    }

    func add(_ loop: TestLoop) { loops.withLock { $0.append(loop) } }
}

/// A loop on a thread of its own.
///
/// `@unchecked Sendable`: `jobs` and `isStopped` are touched under `condition`, `timers` only on the thread.
final class TestLoop: Loop, @unchecked Sendable {
    private enum Work {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    let clock: TestClock
    private let condition = NSCondition()
    private var jobs: [Work] = []
    private var isStopped = false
    private var timers: [(token: TimerToken, deadline: MonotonicTime, work: @Sendable () -> Void)] =
        []
    private var nextToken: UInt64 = 0
    /// Set once in init, before anyone else has the loop.
    private nonisolated(unsafe) var thread: Thread?

    init(clock: TestClock) {
        self.clock = clock
        clock.add(self)
        let thread = Thread { [unowned self] in self.main() }
        self.thread = thread
        thread.start()
    }

    var now: MonotonicTime { clock.now }
    var wallNow: WallTime { clock.wallNow }
    var timerCount: Int { timers.count }

    func execute(_ work: @escaping @Sendable () -> Void) { append(.closure(work)) }
    func enqueue(_ job: consuming ExecutorJob) { append(.job(UnownedJob(job))) }

    func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> TimerToken {
        preconditionOnLoop()
        nextToken += 1
        timers.append((TimerToken(nextToken), deadline, work))
        return TimerToken(nextToken)
    }

    func cancel(_ timer: TimerToken) {
        preconditionOnLoop()
        timers.removeAll { $0.token == timer }
    }

    func preconditionOnLoop() { precondition(Thread.current === thread, "not on the loop") }

    /// Ends the thread after the work that it has.
    func stop() {
        condition.withLock {
            isStopped = true
            condition.signal()
        }
    }

    private func append(_ work: Work) {
        condition.withLock {
            if !isStopped { jobs.append(work) }
            condition.signal()
        }
    }

    private func main() {
        while true {
            for work in takeJobs() {
                switch work {
                case .closure(let closure): closure()
                case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
                }
            }
            let now = now
            let due = timers.filter { $0.deadline <= now }.sorted { $0.deadline < $1.deadline }
            timers.removeAll { $0.deadline <= now }
            for timer in due { timer.work() }
            if condition.withLock({ isStopped && jobs.isEmpty }) { return }
        }
    }

    private func takeJobs() -> [Work] {
        condition.withLock {
            while jobs.isEmpty && !isStopped {
                let next = timers.map(\.deadline).min()
                guard let next else {
                    condition.wait()
                    continue
                }
                let seconds =
                    Double(now.duration(to: next).components.seconds)
                    + Double(now.duration(to: next).components.attoseconds) / 1e18
                if seconds <= 0 || !condition.wait(until: Date(timeIntervalSinceNow: seconds)) {
                    break
                }
            }
            defer { jobs = [] }
            return jobs
        }
    }
}
