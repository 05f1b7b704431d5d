import FlotillaIO
import Testing

@Suite struct LoopShutdownTests {
    @Test("shutting down twice, at the same time and before the start all return")
    func idempotent() async throws {
        let loop = EventLoop()
        try loop.start()
        async let first: Void = loop.shutdown()
        async let second: Void = loop.shutdown()
        await first
        await second
        await loop.shutdown()
        await EventLoop().shutdown()
    }

    @Test(
        "closures that were given before the shutdown run; those given after it are dropped, with what they hold"
    )
    func closures() async throws {
        let loop = EventLoop()
        try loop.start()
        let seen = Collector<Int>()
        for number in 0..<100 { loop.execute { seen.append(number) } }
        await loop.shutdown()
        #expect(seen.values == Array(0..<100))
        weak var late: Collector<Int>?
        do {
            let held = Collector<Int>()
            late = held
            loop.execute { held.append(1) }
        }
        #expect(late == nil)
    }

    @Test("actors of a loop that has shut down still answer, one after the other")
    func lateActors() async throws {
        let loop = EventLoop()
        try loop.start()
        let actor = Pinned(loop: loop)
        #expect(await actor.add(1) == 1)
        await loop.shutdown()
        await withTaskGroup { group in
            for _ in 0..<100 { group.addTask { _ = await actor.add(1) } }
        }
        #expect(await actor.value == 101)
        #expect(await loop.run { loop.isOnLoop })
    }

    @Test("actors of a loop that was never started answer once it is shut down")
    func neverStarted() async throws {
        let loop = EventLoop()
        let actor = Pinned(loop: loop)
        async let sum = actor.add(3)
        await loop.shutdown()
        #expect(await sum == 3)
    }

    @Test("tasks that keep hopping through the shutdown all come to their end")
    func hopping() async throws {
        let loop = EventLoop()
        try loop.start()
        let actors = (0..<20).map { _ in Pinned(loop: loop) }
        await withTaskGroup { group in
            for actor in actors { group.addTask { await actor.yieldMany(200) } }
            group.addTask { await loop.shutdown() }
        }
        for actor in actors { #expect(await actor.value == 200) }
    }

    @Test("timers that are pending at the shutdown are dropped")
    func timers() async throws {
        let loop = EventLoop()
        try loop.start()
        let seen = Collector<Int>()
        await loop.run {
            _ = loop.schedule(at: loop.now.advanced(by: .seconds(3600))) { seen.append(1) }
        }
        await loop.shutdown()
        #expect(seen.values.isEmpty)
        // Scheduling on a stopped loop does nothing.
        await loop.run { loop.cancel(loop.schedule(at: loop.now) { seen.append(2) }) }
        #expect(seen.values.isEmpty)
    }
}
