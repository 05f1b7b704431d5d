import FlotillaIO
import Glibc
import Testing

@Suite struct EventLoopTests {
    @Test("closures run on the loop, in the order in which one thread gave them")
    func order() async throws {
        try await withLoop { loop in
            let seen = Collector<Int>()
            for number in 0..<1000 {
                loop.execute {
                    loop.preconditionOnLoop()
                    seen.append(number)
                }
            }
            #expect(await seen.wait(for: 1000) == Array(0..<1000))
        }
    }

    @Test("what was given before the start waits for it")
    func beforeStart() async throws {
        let loop = EventLoop()
        let seen = Collector<Int>()
        loop.execute { seen.append(1) }
        async let sum = Pinned(loop: loop).add(2)
        try loop.start()
        #expect(await sum == 2)
        #expect(await seen.wait(for: 1) == [1])
        await loop.shutdown()
    }

    @Test("the clocks are the system's")
    func clocks() async throws {
        let loop = EventLoop()
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let before = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        #expect(loop.now.nanoseconds >= before)
        clock_gettime(CLOCK_REALTIME, &time)
        let wall = Int64(time.tv_sec)
        #expect(loop.wallNow.nanoseconds / 1_000_000_000 - wall <= 60)
        #expect(loop.wallNow.nanoseconds / 1_000_000_000 >= wall)
    }

    @Test("work that feeds itself for ever does not starve the timers")
    func selfFeeding() async throws {
        try await withLoop { loop in
            let fired = Collector<Bool>()
            let isDone = Lock(false)
            @Sendable func again() {
                if !isDone.withLock({ $0 }) { loop.execute { again() } }
            }
            loop.execute {
                again()
                _ = loop.schedule(at: loop.now.advanced(by: .milliseconds(2))) {
                    fired.append(true)
                }
            }
            _ = await fired.wait(for: 1)
            isDone.withLock { $0 = true }
        }
    }

    @Test("run gives back the body's result and its error")
    func run() async throws {
        struct Refused: Error {}
        try await withLoop { loop in
            let isOnLoop = await loop.run { loop.isOnLoop }
            #expect(isOnLoop)
            #expect(!loop.isOnLoop)
            await #expect(throws: Refused.self) { try await loop.run { throw Refused() } }
        }
    }
}

/// What the architecture's speed rests on. A toolchain that changes it fails here.
@Suite struct ExecutorProbeTests {
    @Test("a call between two actors on one loop costs no enqueue and no pass")
    func sameLoopCall() async throws {
        try await withLoop { loop in
            let caller = Pinned(loop: loop)
            let callee = Pinned(loop: loop)
            // The first call from here is one enqueue; what differs is the number of calls inside.
            let start = loop.counters
            _ = await caller.call(callee, times: 1)
            let afterOne = loop.counters
            _ = await caller.call(callee, times: 1000)
            let afterMany = loop.counters
            #expect(afterMany.enqueues - afterOne.enqueues == afterOne.enqueues - start.enqueues)
            #expect(afterMany.enqueues - afterOne.enqueues == 1)
            #expect(afterMany.passes - afterOne.passes <= 2)
            #expect(await callee.value == 1001)
        }
    }

    @Test("assumeIsolated from the loop's callbacks costs no enqueue and sees the actor's state")
    func assumeIsolated() async throws {
        try await withLoop { loop in
            let actor = Pinned(loop: loop)
            let counts = await loop.run {
                let before = loop.counters
                let value = actor.assumeIsolated { $0.add(7) }
                return (value, before, loop.counters)
            }
            #expect(counts.0 == 7)
            #expect(counts.1 == counts.2)
            // A timer's callback comes from libuv itself.
            let values = Collector<(Int, EventLoop.Counters, EventLoop.Counters)>()
            loop.execute {
                _ = loop.schedule(at: loop.now) {
                    let before = loop.counters
                    let value = actor.assumeIsolated { $0.add(1) }
                    values.append((value, before, loop.counters))
                }
            }
            let fromTimer = await values.wait(for: 1)[0]
            #expect(fromTimer.0 == 8)
            #expect(fromTimer.1 == fromTimer.2)
        }
    }

    @Test("a burst of 1000 from outside does not wake a busy loop at all, and is one batch")
    func burst() async throws {
        try await withLoop { loop in
            let isBusy = Collector<Bool>()
            let gate = Lock(false)
            loop.execute {
                isBusy.append(true)
                while !gate.withLock({ $0 }) { sched_yield() }
            }
            _ = await isBusy.wait(for: 1)
            let before = loop.counters
            let seen = Collector<Int>()
            for number in 0..<1000 { loop.execute { seen.append(number) } }
            let during = loop.counters
            gate.withLock { $0 = true }
            _ = await seen.wait(for: 1000)
            #expect(during.enqueues - before.enqueues == 1000)
            #expect(during.wakeups == before.wakeups)
            #expect(loop.counters.passes - before.passes <= 1)
        }
    }

    @Test("a loop that has nothing to do does not turn")
    func quiet() async throws {
        try await withLoop { loop in
            // An actor call ends in a drain; after it the loop goes to sleep, and only a later
            // request can wake it.
            _ = await loop.run { 0 }
            let first = loop.counters
            _ = await loop.run { 0 }
            let second = loop.counters
            #expect(second.passes - first.passes <= 2)
            #expect(second.wakeups - first.wakeups <= 1)
        }
    }

    @Test("the loop knows whether the current code runs on it")
    func isolation() async throws {
        try await withLoop { loop in
            #expect(loop.isIsolatingCurrentContext() == false)
            #expect(await loop.run { loop.isIsolatingCurrentContext() } == true)
            try await withLoop("another") { other in
                #expect(await other.run { loop.isIsolatingCurrentContext() } == false)
            }
        }
    }
}
