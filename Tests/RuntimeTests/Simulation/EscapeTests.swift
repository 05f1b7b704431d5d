import FlotillaSimulation
import Glibc
import Testing

/// What a simulation does about tasks that would leave it.
///
/// Tests that need to notice them do not run under the thread sanitizer, where nobody does.
@Suite struct EscapeTests {
    @Test("escapes are noticed wherever a sanitizer does not stand in the way")
    func notices() {
        #expect(ExecutorHook.noticesEscapes || dlsym(nil, "__tsan_init") != nil)
    }

    @Test(
        "a task that would sleep in real time is caught at once, and told what to use",
        .enabled(if: ExecutorHook.noticesEscapes))
    func realSleep() async throws {
        let sleeps: [@Sendable () async throws -> Void] = [
            { try await Task.sleep(for: .seconds(3_600)) },
            { try await Task.sleep(nanoseconds: 3_600_000_000_000) },
            { try await ContinuousClock().sleep(for: .seconds(3_600)) },
            { try await Task.sleep(for: .seconds(3_600), tolerance: .seconds(1)) },
            { try await Task.sleep(for: .seconds(3_600), clock: .suspending) },
        ]
        for sleep in sleeps {
            let error = await failure { try await Simulation.run(seed: 1) { _ in try await sleep() } }
            #expect(error?.code == .escape)
            #expect(error?.message.contains("the step context's clock") == true)
            #expect(error?.seed == 1)
        }
    }

    @Test(
        "a task that sleeps in real time beside others that go on is caught as well",
        .enabled(if: ExecutorHook.noticesEscapes))
    func realSleepBesideOthers() async throws {
        let error = await failure {
            try await Simulation.run(seed: 1) { world in
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { for _ in 0..<1_000 { try? await world.sleep(for: .seconds(1)) } }
                    group.addTask { try? await Task.sleep(for: .milliseconds(1)) }
                }
            }
        }
        #expect(error?.code == .escape)
    }

    @Test(
        "a task that calls the main actor is caught, and the main actor's code does not run",
        .enabled(if: ExecutorHook.noticesEscapes))
    func mainActor() async throws {
        let notes = Notes()
        let error = await failure {
            try await Simulation.run(seed: 1) { _ in await MainActor.run { notes.add("ran") } }
        }
        #expect(error?.code == .escape)
        #expect(error?.message.contains("main actor") == true)
        #expect(notes.lines == [])
    }

    @Test("a yield stays inside: the seed says who goes next", .enabled(if: ExecutorHook.noticesEscapes))
    func yields() async throws {
        @Sendable func scenario(_ world: SimulationWorld) async throws -> [String] {
            let collector = Collector<String>()
            await withTaskGroup(of: Void.self) { group in
                for name in ["a", "b", "c"] {
                    group.addTask {
                        for number in 0..<5 {
                            await Task.yield()
                            await collector.add("\(name)\(number)")
                        }
                    }
                }
            }
            return await collector.items
        }
        let one = try await Simulation.run(seed: 1, scenario)
        let again = try await Simulation.run(seed: 1, scenario)
        let other = try await Simulation.run(seed: 2, scenario)
        #expect(one.value == again.value && one.traceHash == again.traceHash)
        #expect(one.value != other.value)
        #expect(one.value.count == 15)
    }

    @Test("a world that is entered from a thread of the scenario's own traps")
    func foreignThread() async {
        await #expect(processExitsWith: .failure) {
            _ = try await Simulation.run(seed: 1) { world in
                var thread = pthread_t()
                pthread_create(
                    &thread, nil,
                    { argument in
                        _ = Unmanaged<SimulationWorld>.fromOpaque(argument!).takeUnretainedValue().random(below: 2)
                        return nil
                    }, Unmanaged.passUnretained(world).toOpaque())
                pthread_join(thread, nil)
            }
            exit(EXIT_SUCCESS)
        }
    }
}
