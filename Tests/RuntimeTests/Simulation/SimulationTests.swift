import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Glibc
import Testing

/// Actors, tasks, timers, frames and disks of two nodes, mixed as much as a small scenario can.
@Sendable private func busyScenario(_ world: SimulationWorld) async throws -> [String] {
    let a = world.start(NodeID(1))
    let b = world.start(NodeID(2))
    let first = Pinned(a.loop)
    let second = Pinned(b.loop)
    let worker = a.makeWorker()
    await withTaskGroup(of: Void.self) { group in
        for number in 0..<20 {
            group.addTask {
                if number % 3 == 0 {
                    try? await world.sleep(for: world.random(in: .zero ... .milliseconds(5)))
                }
                await first.ask(second, "\(number)")
                await second.ask(first, "back \(number)")
            }
        }
        group.addTask {
            await withCheckedContinuation { continuation in
                worker.submit({}, then: { continuation.resume() }, on: a.loop)
            }
            await first.note("worked")
        }
    }
    return await first.log + second.log
}

@Suite struct SimulationTests {
    @Test("one seed is one history, another seed another")
    func oneSeedOneHistory() async throws {
        let once = try await Simulation.run(seed: 7, busyScenario)
        let again = try await Simulation.run(seed: 7, busyScenario)
        let other = try await Simulation.run(seed: 8, busyScenario)
        #expect(once.traceHash == again.traceHash)
        #expect(once.value == again.value)
        #expect(once.steps == again.steps)
        #expect(once.traceHash != other.traceHash)
        #expect(once.value != other.value)
        #expect(Set(once.value) == Set(other.value))
    }

    @Test("seeds explore many different interleavings")
    func seedsExplore() async throws {
        var histories: Set<[String]> = []
        for seed in 0..<20 {
            histories.insert(try await Simulation.run(seed: UInt64(seed), busyScenario).value)
        }
        #expect(histories.count == 20)
    }

    @Test("a history is the same in every process and build")
    func knownHash() async throws {
        let result = try await Simulation.run(seed: 42) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            for number in 0..<50 {
                world.after(world.random(in: .zero ... .seconds(1))) {
                    loop.execute { notes.add("\(number)") }
                }
            }
            try await world.sleep(for: .seconds(2))
            return notes.lines.count
        }
        #expect(result.value == 50)
        // Changes when the simulator decides differently, and then on purpose.
        #expect(result.traceHash == 9_901_392_898_115_955_893)
        let busy = try await Simulation.run(seed: 42, busyScenario)
        #expect(busy.traceHash == 8_965_393_576_247_959_627)
    }

    @Test("virtual time jumps from timer to timer in their order and costs no real time")
    func virtualTime() async throws {
        let result = try await Simulation.run(
            seed: 1, limits: .init(virtualTime: .seconds(1_000_000))
        ) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            let start = world.now
            await loop.perform {
                for delay in [500_000, 3, 70, 1] {
                    _ = loop.schedule(at: start.advanced(by: .seconds(delay))) {
                        loop.preconditionOnLoop()
                        notes.add("\(delay) \(start.duration(to: loop.now))")
                    }
                }
            }
            try await world.sleep(for: .seconds(600_000))
            return notes.lines
        }
        #expect(
            result.value == [
                "1 1.0 seconds", "3 3.0 seconds", "70 70.0 seconds", "500000 500000.0 seconds",
            ])
        #expect(result.elapsed == .seconds(600_000))
    }

    @Test("timers of one deadline fire in the order of their scheduling")
    func equalDeadlines() async throws {
        let result = try await Simulation.run(seed: 1) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            await loop.perform {
                let deadline = loop.now.advanced(by: .seconds(1))
                for number in 0..<10 { _ = loop.schedule(at: deadline) { notes.add("\(number)") } }
            }
            try await world.sleep(for: .seconds(2))
            return notes.lines
        }
        #expect(result.value == (0..<10).map(String.init))
    }

    @Test(
        "a timer that is cancelled does not fire, not even when its time has come but not its turn")
    func cancelledTimers() async throws {
        let result = try await Simulation.run(seed: 1) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            await loop.perform {
                let early = loop.schedule(at: loop.now.advanced(by: .seconds(1))) {
                    notes.add("cancelled early")
                }
                loop.cancel(early)
                loop.cancel(early)
                let deadline = loop.now.advanced(by: .seconds(2))
                let tokens = Notes()
                _ = loop.schedule(at: deadline) {
                    notes.add("first")
                    loop.cancel(TimerToken(UInt64(tokens.lines[0]) ?? 0))
                }
                let late = loop.schedule(at: deadline) { notes.add("cancelled late") }
                tokens.add("\(late.rawValue)")
            }
            try await world.sleep(for: .seconds(3))
            return notes.lines
        }
        #expect(result.value == ["first"])
    }

    @Test("a loop runs what it is given in order")
    func loopOrder() async throws {
        let result = try await Simulation.run(seed: 3) { world in
            let loop = world.start(NodeID(1)).loop
            let other = world.start(NodeID(2)).loop
            let notes = Notes()
            for number in 0..<200 {
                loop.execute { notes.add("\(number)") }
                other.execute {}
            }
            await loop.perform {}
            return notes.lines
        }
        #expect(result.value == (0..<200).map(String.init))
    }

    @Test("a body that waits for nothing ends with a named deadlock at its virtual time")
    func deadlock() async throws {
        let error = await failure {
            try await Simulation.run(seed: 5) { world in
                try await world.sleep(for: .seconds(3))
                let (stream, continuation) = AsyncStream<Int>.makeStream()
                for await _ in stream {}
                withExtendedLifetime(continuation) {}
            }
        }
        #expect(error?.code == .deadlock)
        #expect(error?.time == MonotonicTime(nanoseconds: 4_000_000_000))
        #expect(error?.description.contains("seed 5") == true)
    }

    @Test("after a failure the body's tasks are cancelled and unwind")
    func unwinding() async throws {
        let notes = Notes()
        let error = await failure {
            try await Simulation.run(seed: 5) { world in
                await withTaskGroup(of: Void.self) { group in
                    for number in 0..<3 {
                        group.addTask {
                            let (stream, continuation) = AsyncStream<Int>.makeStream()
                            for await _ in stream {}
                            withExtendedLifetime(continuation) {}
                            notes.add("\(number) left")
                        }
                    }
                }
            }
        }
        #expect(error?.code == .deadlock)
        #expect(notes.lines.count == 3)
    }

    @Test("a body that takes too long in virtual time or in steps ends with a named error")
    func limits() async throws {
        let late = await failure {
            try await Simulation.run(seed: 5, limits: .init(virtualTime: .seconds(10))) { world in
                try await world.sleep(for: .seconds(11))
            }
        }
        #expect(late?.code == .timeLimit)
        let endless = await failure {
            try await Simulation.run(seed: 5, limits: .init(steps: 1000)) { world in
                while true { try await world.sleep(for: .zero) }
            }
        }
        #expect(endless?.code == .stepLimit)
    }

    @Test("a body that throws ends with its error and the seed")
    func bodyThrows() async throws {
        struct Named: Error {}
        let error = await failure {
            try await Simulation.run(seed: 77) { _ in throw Named() }
        }
        #expect(error?.code == .bodyFailed)
        #expect(error?.cause is Named)
        #expect(error?.description.contains("seed 77") == true)
        let untidy = await failure {
            try await Simulation.run(seed: 77) { world in
                Task { try await world.sleep(for: .seconds(1)) }
                throw Named()
            }
        }
        #expect(untidy?.cause is Named)
    }

    @Test("timers, sleepers and workers' calls that outlive the body are named")
    func leftovers() async throws {
        let timer = await failure {
            try await Simulation.run(seed: 5) { world in
                let loop = world.start(NodeID(3)).loop
                await loop.perform { _ = loop.schedule(at: loop.now.advanced(by: .seconds(1))) {} }
            }
        }
        #expect(timer?.code == .leftover)
        #expect(timer?.message.contains("1 timers of node 3") == true)
        let sleeper = await failure {
            try await Simulation.run(seed: 5) { world in
                Task { try await world.sleep(for: .seconds(1)) }
            }
        }
        #expect(sleeper?.message.contains("1 sleeping tasks") == true)
        let work = await failure {
            try await Simulation.run(seed: 5) { world in
                let process = world.start(NodeID(3))
                process.makeWorker().submit({}, then: {}, on: process.loop)
            }
        }
        #expect(work?.message.contains("1 calls on the workers of node 3") == true)
        let spinning = await failure {
            try await Simulation.run(seed: 5) { world in
                let loop = world.start(NodeID(3)).loop
                @Sendable func again() { loop.execute { again() } }
                again()
            }
        }
        #expect(spinning?.code == .leftover)
    }

    @Test("a condition that does not come true in time is named")
    func conditions() async throws {
        let error = await failure {
            try await Simulation.run(seed: 5) { world in
                try await world.wait(until: "time stands still", within: .seconds(5)) {
                    world.now.nanoseconds == 0
                }
            }
        }
        #expect((error?.cause as? SimulationError)?.message.contains("time stands still") == true)
        let result = try await Simulation.run(seed: 5) { world in
            let end = world.now.advanced(by: .seconds(5))
            try await world.wait(until: "five seconds have passed", within: .seconds(6)) {
                world.now >= end
            }
        }
        #expect(result.elapsed == .seconds(5))
    }

    @Test("simulations on parallel threads do not mix")
    func parallel() async throws {
        let alone = try await Simulation.run(seed: 1, busyScenario)
        let hashes = try await withThrowingTaskGroup(of: (UInt64, UInt64).self) { group in
            for number in 0..<16 {
                group.addTask {
                    let seed = UInt64(number % 4)
                    return (seed, try await Simulation.run(seed: seed, busyScenario).traceHash)
                }
            }
            return try await group.reduce(into: [UInt64: Set<UInt64>]()) {
                $0[$1.0, default: []].insert($1.1)
            }
        }
        #expect(hashes.count == 4)
        #expect(hashes.values.allSatisfy { $0.count == 1 })
        #expect(hashes[1] == [alone.traceHash])
    }

    @Test("what is noted becomes part of the trace hash")
    func notes() async throws {
        let one = try await Simulation.run(seed: 1) { $0.note(1) }
        let two = try await Simulation.run(seed: 1) { $0.note(2) }
        #expect(one.traceHash != two.traceHash)
    }

    @Test("the body keeps the caller's task-local values")
    func taskLocals() async throws {
        let value = try await Local.$name.withValue("outer") {
            try await Simulation.run(seed: 1) { _ in Local.name }.value
        }
        #expect(value == "outer")
    }

    @Test("the wall clock jumps on one node alone, and the monotonic clock does not notice")
    func wallClock() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let (a, b) = (world.start(NodeID(1)).loop, world.start(NodeID(2)).loop)
            let before = a.now
            #expect(a.wallNow == b.wallNow)
            world.jumpWallClock(of: NodeID(1), by: .seconds(-3600))
            #expect(b.wallNow.nanoseconds - a.wallNow.nanoseconds == 3600 * 1_000_000_000)
            #expect(a.now == before)
            try await world.sleep(for: .seconds(1))
            #expect(b.wallNow.nanoseconds - a.wallNow.nanoseconds == 3600 * 1_000_000_000)
        }
    }
}

private enum Local {
    @TaskLocal static var name = "none"
}
