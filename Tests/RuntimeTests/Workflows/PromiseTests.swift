import FlotillaIO
import Testing

@Suite("Promises and sleeps", .timeLimit(.minutes(5)))
struct PromiseTests {
    @Test("a value that came first is found, and the first value wins")
    func early() async throws {
        let promise = Promise<Int>()
        #expect(promise.value == nil)
        #expect(promise.fulfill(1))
        #expect(!promise.fulfill(2))
        #expect(try await promise.wait() == 1)
        #expect(try await promise.wait() == 1)
        #expect(promise.value == 1)
    }

    @Test(
        "a cancellation that comes before the wait is remembered, and does not spoil the next wait")
    func cancelledFirst() async throws {
        let promise = Promise<Int>()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await promise.wait()
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(promise.fulfill(3))
        #expect(try await promise.wait() == 3)
    }

    @Test("a value and a cancellation that race end the wait once, with one of them")
    func race() async throws {
        for number in 0..<2000 {
            let promise = Promise<Int>()
            let task = Task { try await promise.wait() }
            async let fulfilled: Bool = promise.fulfill(number)
            task.cancel()
            let isFirst = await fulfilled
            #expect(isFirst)
            let result = await task.result
            if case .success(let value) = result { #expect(value == number) }
            #expect(promise.value == number)
        }
    }

    @Test(
        "a sleep on a loop ends at its time; a cancelled one ends at once and gives its timer back")
    func sleeps() async throws {
        let clock = TestClock()
        let loop = TestLoop(clock: clock)
        defer { loop.stop() }
        let before = loop.now
        try await loop.sleep(until: before)
        try await loop.sleep(for: .milliseconds(2))
        #expect(before.duration(to: loop.now) >= .milliseconds(2))

        let long = Task { try await loop.sleep(for: .seconds(3600)) }
        while await timers(of: loop) == 0 { await Task.yield() }
        long.cancel()
        await #expect(throws: CancellationError.self) { try await long.value }
        #expect(await timers(of: loop) == 0)

        let skipped = Task { try await loop.sleep(for: .seconds(3600)) }
        while await timers(of: loop) == 0 { await Task.yield() }
        clock.advance(by: .seconds(3601))
        try await skipped.value
    }

    private func timers(of loop: TestLoop) async -> Int {
        await withCheckedContinuation { continuation in
            loop.execute { continuation.resume(returning: loop.timerCount) }
        }
    }
}
