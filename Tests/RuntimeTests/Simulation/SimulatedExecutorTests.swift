import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@Suite struct SimulatedExecutorTests {
    @Test(
        "an actor on a simulated loop is entered from the loop's callbacks, and from nowhere else")
    func assumeIsolated() async throws {
        let result = try await Simulation.run(seed: 1) { world in
            let (a, b) = (world.start(NodeID(1)).loop, world.start(NodeID(2)).loop)
            let actor = Pinned(a)
            #expect(a.isIsolatingCurrentContext() == false)
            await a.perform {
                #expect(a.isIsolatingCurrentContext() == true)
                #expect(b.isIsolatingCurrentContext() == false)
                actor.assumeIsolated { $0.note("from a callback") }
            }
            await a.perform {
                _ = a.schedule(at: a.now) { actor.assumeIsolated { $0.note("from a timer") } }
            }
            try await world.sleep(for: .milliseconds(1))
            await actor.note("by a call")
            return await actor.log
        }
        #expect(result.value == ["from a callback", "from a timer", "by a call"])
    }

    @Test(
        "default actors, groups, async let, continuations and streams all run inside the simulation"
    )
    func everyKindOfJob() async throws {
        let result = try await Simulation.run(seed: 9) { world in
            let collector = Collector<String>()
            await withDiscardingTaskGroup { group in
                for number in 0..<5 {
                    group.addTask {
                        try? await world.sleep(for: .milliseconds(number))
                        await collector.add("group \(number)")
                    }
                }
            }
            async let one = {
                try? await world.sleep(for: .seconds(1))
                return 1
            }()
            async let two = {
                try? await world.sleep(for: .seconds(1))
                return 2
            }()
            await collector.add("async let \(await one + two)")
            let (stream, continuation) = AsyncStream<Int>.makeStream(
                bufferingPolicy: .bufferingNewest(10))
            let feeder = Task.detached {
                for number in 0..<3 {
                    try await world.sleep(for: .seconds(1))
                    continuation.yield(number)
                }
                continuation.finish()
            }
            for await number in stream { await collector.add("stream \(number)") }
            try await feeder.value
            let loop = world.start(NodeID(1)).loop
            await collector.add("continuation \(await loop.perform { 7 })")
            return await collector.items
        }
        let expected =
            (0..<5).map { "group \($0)" } + ["async let 3"] + (0..<3).map { "stream \($0)" } + [
                "continuation 7"
            ]
        #expect(result.value == expected)
        #expect(result.elapsed == .seconds(4) + .milliseconds(4))
    }

    @Test("a sleeper that is cancelled wakes at once, also if the cancellation came first")
    func cancellation() async throws {
        let result = try await Simulation.run(seed: 2) { world in
            let late = Task { try await world.sleep(for: .seconds(100)) }
            try await world.sleep(for: .seconds(1))
            late.cancel()
            await #expect(throws: CancellationError.self) { try await late.value }
            let early = Task {
                while !Task.isCancelled { try? await world.sleep(for: .zero) }
                try await world.sleep(for: .seconds(100))
            }
            early.cancel()
            await #expect(throws: CancellationError.self) { try await early.value }
        }
        #expect(result.elapsed == .seconds(1))
    }

    @Test("a throwing group cancels its siblings inside the simulation")
    func groupCancellation() async throws {
        struct Named: Error {}
        let result = try await Simulation.run(seed: 2) { world in
            await #expect(throws: Named.self) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<10 { group.addTask { try await world.sleep(for: .seconds(500)) } }
                    group.addTask {
                        try await world.sleep(for: .seconds(2))
                        throw Named()
                    }
                    for try await _ in group {}
                }
            }
        }
        #expect(result.elapsed == .seconds(2))
    }

    @Test("two actors of two nodes that race come in first by the seed's choice")
    func races() async throws {
        var winners: Set<String> = []
        for seed in 0..<32 {
            let result = try await Simulation.run(seed: UInt64(seed)) { world in
                let target = Collector<String>()
                let (a, b) = (
                    Pinned(world.start(NodeID(1)).loop), Pinned(world.start(NodeID(2)).loop)
                )
                await withTaskGroup(of: Void.self) { group in
                    group.addTask {
                        await a.note("x")
                        await target.add("a")
                    }
                    group.addTask {
                        await b.note("x")
                        await target.add("b")
                    }
                }
                return await target.items
            }
            winners.insert(result.value[0])
        }
        #expect(winners == ["a", "b"])
    }

    @Test("a paused process stands still while the world goes on, and catches up in order")
    func pausing() async throws {
        let result = try await Simulation.run(seed: 4) { world in
            let (slow, other) = (world.start(NodeID(1)), world.start(NodeID(2)))
            let notes = Notes()
            await slow.loop.perform {
                let loop = slow.loop
                _ = loop.schedule(at: loop.now.advanced(by: .seconds(1))) { notes.add("timer") }
            }
            slow.pause()
            slow.loop.execute { notes.add("work") }
            try await world.sleep(for: .seconds(5))
            await other.loop.perform { notes.add("other") }
            slow.resume()
            await slow.loop.perform {}
            return notes.lines
        }
        #expect(result.value == ["other", "work", "timer"])
        let stuck = await failure {
            try await Simulation.run(seed: 4) { world in
                let process = world.start(NodeID(1))
                process.pause()
                await process.loop.perform {}
            }
        }
        #expect(stuck?.message.contains("node 1 paused") == true)
    }

    @Test("a process may pause itself in the middle of its own work")
    func pausingItself() async throws {
        let result = try await Simulation.run(seed: 4) { world in
            let process = world.start(NodeID(1))
            let other = world.start(NodeID(2))
            let notes = Notes()
            other.loop.execute {}
            process.loop.execute {
                process.pause()
                process.loop.execute { notes.add("later \(world.now.nanoseconds)") }
            }
            world.after(.seconds(1)) { process.resume() }
            try await world.sleep(for: .seconds(2))
            return notes.lines
        }
        #expect(result.value == ["later 2000000000"])
    }

    @Test("what ran in a process that ended goes on, so that it can be cancelled and awaited")
    func endedProcess() async throws {
        let result = try await Simulation.run(seed: 4) { world in
            let process = world.start(NodeID(1))
            let actor = Pinned(process.loop)
            let notes = Notes()
            process.didEnd = { notes.add("ended") }
            let running = Task {
                await actor.note("before")
                try? await world.sleep(for: .seconds(100))
                await actor.note("unwound")
            }
            try await world.sleep(for: .seconds(1))
            process.end(.powerLost(.dropped))
            process.end(.killed)
            #expect(world.process(of: NodeID(1)) == nil)
            running.cancel()
            await running.value
            let next = world.start(NodeID(1))
            #expect(next.incarnation == 2)
            #expect(next.loop !== process.loop)
            return await actor.log + notes.lines
        }
        #expect(result.value == ["before", "unwound", "ended"])
    }

    @Test("a worker runs its work in order, off every loop, and its completions on the loop")
    func worker() async throws {
        let result = try await Simulation.run(seed: 4) { world in
            let process = world.start(NodeID(1))
            world.disk(of: NodeID(1)).latency = .milliseconds(10)...(.milliseconds(20))
            let worker = process.makeWorker()
            let notes = Notes()
            for number in 0..<5 {
                worker.submit(
                    {
                        #expect(process.loop.isIsolatingCurrentContext() == false)
                        notes.add("work \(number)")
                    },
                    then: {
                        process.loop.preconditionOnLoop()
                        notes.add("done \(number)")
                    }, on: process.loop)
            }
            await worker.shutdown()
            await process.loop.perform {}
            #expect(world.now.nanoseconds >= 1_050_000_000)
            return notes.lines
        }
        #expect(result.value.filter { $0.hasPrefix("work") } == (0..<5).map { "work \($0)" })
        #expect(result.value.filter { $0.hasPrefix("done") } == (0..<5).map { "done \($0)" })
    }
}
