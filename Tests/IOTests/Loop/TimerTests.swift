import Testing

@testable import FlotillaIO

@Suite struct TimerTests {
    @Test(
        "timers fire in the order of their deadlines, those of one moment in the order of scheduling"
    )
    func order() async throws {
        try await withLoop { loop in
            let seen = Collector<Int>()
            loop.execute {
                let start = loop.now
                for (number, delay) in [(3, 6), (1, 2), (4, 6), (2, 4), (0, 0)] {
                    let deadline = start.advanced(by: .milliseconds(delay))
                    _ = loop.schedule(at: deadline) {
                        #expect(loop.now >= deadline)
                        seen.append(number)
                    }
                }
            }
            #expect(await seen.wait(for: 5) == [0, 1, 2, 3, 4])
        }
    }

    @Test("a cancelled timer does not fire, even when an earlier one of the same moment cancels it")
    func cancelling() async throws {
        try await withLoop { loop in
            let seen = Collector<String>()
            loop.execute {
                let deadline = loop.now.advanced(by: .milliseconds(1))
                let victim = Lock<TimerToken?>(nil)
                _ = loop.schedule(at: deadline) {
                    if let token = victim.withLock({ $0 }) { loop.cancel(token) }
                    seen.append("first")
                }
                let token = loop.schedule(at: deadline) { seen.append("cancelled") }
                victim.withLock { $0 = token }
                _ = loop.schedule(at: deadline.advanced(by: .milliseconds(1))) {
                    seen.append("last")
                }
            }
            #expect(await seen.wait(for: 2) == ["first", "last"])
        }
    }

    @Test("cancelling a timer that has fired does nothing")
    func cancelLate() async throws {
        try await withLoop { loop in
            let seen = Collector<Int>()
            loop.execute {
                let token = loop.schedule(at: loop.now) { seen.append(1) }
                _ = loop.schedule(at: loop.now.advanced(by: .milliseconds(1))) {
                    loop.cancel(token)
                    loop.cancel(TimerToken(.max))
                    seen.append(2)
                }
            }
            #expect(await seen.wait(for: 2) == [1, 2])
        }
    }

    @Test("timers that are always due leave the queue and the sockets their turn")
    func alwaysDue() async throws {
        try await withLoop { loop in
            let isDone = Lock(false)
            let turns = Collector<Int>()
            @Sendable func again(_ count: Int) {
                // Bounded, so that a loop that starves the queue ends the test as a failure.
                guard count < 200_000, !isDone.withLock({ $0 }) else { return turns.append(count) }
                _ = loop.schedule(at: loop.now) { again(count + 1) }
            }
            let before = loop.counters.passes
            loop.execute {
                again(0)
                loop.execute {
                    _ = loop.schedule(at: loop.now) {
                        loop.execute { isDone.withLock { $0 = true } }
                    }
                }
            }
            let count = await turns.wait(for: 1)[0]
            #expect(count < 1000)
            #expect(loop.counters.passes > before)
        }
    }

    @Test("the heap gives timers back as a sorted list would, whatever is cancelled")
    func heap() {
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        var heap = TimerHeap()
        var model: [(deadline: UInt64, id: UInt64)] = []
        for _ in 0..<5000 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0, 1:
                let deadline = UInt64.random(in: 0..<100, using: &random)
                let token = heap.insert(at: MonotonicTime(nanoseconds: deadline)) {}
                model.append((deadline, token.rawValue))
            case 2:
                guard let victim = model.randomElement(using: &random) else { continue }
                heap.cancel(TimerToken(victim.id))
                model.removeAll { $0.id == victim.id }
            default:
                let first = model.min { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
                #expect(heap.earliest()?.nanoseconds == first?.deadline, "seed \(seed)")
                guard let first else { continue }
                let due = heap.popDue(
                    at: MonotonicTime(nanoseconds: first.deadline), before: first.id + 1)
                #expect(due != nil, "seed \(seed)")
                model.removeAll { $0.id == first.id }
            }
            #expect(heap.count == model.count, "seed \(seed)")
        }
    }
}
