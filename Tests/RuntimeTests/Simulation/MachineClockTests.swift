import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@Suite struct MachineClockTests {
    @Test("a clock that runs fast shows more, and fires its timers earlier in virtual time")
    func fast() async throws {
        try await check(rate: 1.5, duration: .seconds(10), shown: .seconds(15))
    }

    @Test("a clock that runs slowly shows less, and fires its timers later in virtual time")
    func slow() async throws {
        try await check(rate: 0.5, duration: .seconds(10), shown: .seconds(5))
    }

    private func check(rate: Double, duration: Duration, shown: Duration) async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let (loop, other) = (world.start(NodeID(1)).loop, world.start(NodeID(2)).loop)
            world.setClockRate(of: NodeID(1), to: rate)
            let (start, otherStart, wallStart) = (loop.now, other.now, loop.wallNow)
            try await world.sleep(for: duration)
            #expect(start.duration(to: loop.now) == shown)
            #expect(.nanoseconds(loop.wallNow.nanoseconds - wallStart.nanoseconds) == shown)
            #expect(otherStart.duration(to: other.now) == duration)
            let before = world.now
            try await loop.sleep(for: shown)
            #expect(before.duration(to: world.now) == duration)
        }
    }

    @Test("timers that are set already follow a change of the rate, and never fire before their time")
    func rateChanges() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            let start = world.now
            await loop.perform {
                for seconds in [4, 8, 16] {
                    let deadline = loop.now.advanced(by: .seconds(seconds))
                    _ = loop.schedule(at: deadline) {
                        #expect(loop.now >= deadline)
                        notes.add("\(seconds) after \(start.duration(to: world.now))")
                    }
                }
            }
            try await world.sleep(for: .seconds(2))
            // 2 s have passed here and there; the first timer is 2 s of the machine's away.
            world.setClockRate(of: NodeID(1), to: 0.5)
            try await world.sleep(for: .seconds(6))
            // 5 s have passed there.
            world.setClockRate(of: NodeID(1), to: 11)
            try await world.sleep(for: .seconds(2))
            #expect(
                notes.lines == [
                    "4 after 6.0 seconds", "8 after 8.272727273 seconds", "16 after 9.0 seconds",
                ])
        }
    }

    @Test("a timer that was cancelled stays so over a change of the rate")
    func cancelled() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let loop = world.start(NodeID(1)).loop
            let notes = Notes()
            await loop.perform {
                let token = loop.schedule(at: loop.now.advanced(by: .seconds(4))) { notes.add("fired") }
                world.setClockRate(of: NodeID(1), to: 2)
                loop.cancel(token)
            }
            try await world.sleep(for: .seconds(10))
            #expect(notes.lines == [])
        }
    }
}
