import Glibc
import Testing

@testable import FlotillaIO

/// Starts a loop, and shuts it down when `body` is done.
func withLoop<R>(
    _ name: String = "test-loop", _ body: (EventLoop) async throws -> R
) async throws -> R {
    let loop = EventLoop(name: name)
    try loop.start()
    do {
        let result = try await body(loop)
        await loop.shutdown()
        return result
    } catch {
        await loop.shutdown()
        throw error
    }
}

/// An actor on a loop, as the product's are.
actor Pinned {
    let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var value = 0

    init(loop: EventLoop) { self.loop = loop }

    func add(_ more: Int) -> Int {
        value += more
        return value
    }

    /// Calls another actor many times and touches its own state in between, so that no hop can be
    /// optimised away.
    func call(_ other: Pinned, times: Int) async -> Int {
        for _ in 0..<times { value += await other.add(1) }
        return value
    }

    func yieldMany(_ times: Int) async {
        for _ in 0..<times {
            value += 1
            await Task.yield()
        }
    }
}

/// Collects values from any thread; a test waits for a number of them.
final class Collector<Value: Sendable>: Sendable {
    private struct State {
        var values: [Value] = []
        var waiters: [(count: Int, continuation: CheckedContinuation<[Value], Never>)] = []
    }
    private let state = Lock(State())

    var values: [Value] { state.withLock { $0.values } }

    func append(_ value: Value) {
        let ready = state.withLock { state in
            state.values.append(value)
            let count = state.values.count
            let ready = state.waiters.filter { $0.count <= count }
            state.waiters.removeAll { $0.count <= count }
            return ready.map { ($0.continuation, state.values) }
        }
        for (continuation, values) in ready { continuation.resume(returning: values) }
    }

    /// Returns once there are `count` values.
    func wait(for count: Int) async -> [Value] {
        await withCheckedContinuation { continuation in
            let values = state.withLock { state -> [Value]? in
                guard state.values.count < count else { return state.values }
                state.waiters.append((count, continuation))
                return nil
            }
            if let values { continuation.resume(returning: values) }
        }
    }
}

/// Runs what blocks on a thread of its own: Swift's pool has few, and the handlers under test need
/// them.
func offPool<R: Sendable>(_ body: @escaping @Sendable () -> R) async -> R {
    await withCheckedContinuation { continuation in
        switch Thread.start(name: "test-blocking", { continuation.resume(returning: body()) }) {
        case .success(let thread): thread.detach()
        case .failure(let failure): preconditionFailure("no thread: \(failure.errno)")
        }
    }
}

/// The seed of a random test: 1, the number in FLOTILLA_SEED, or with FLOTILLA_SEED=random a new one.
func testSeed() -> UInt64 {
    guard let text = getenv("FLOTILLA_SEED") else { return 1 }
    return UInt64(String(cString: text)) ?? .random(in: 0 ... .max)
}

extension HTTPServerLimits {
    /// For tests of anything but the time limits: a test that gets no processor for a while must not be taken for a
    /// client that is slow.
    static var patient: HTTPServerLimits {
        var limits = HTTPServerLimits()
        limits.headerTimeout = .seconds(3_600)
        limits.bodyTimeout = .seconds(3_600)
        limits.idleTimeout = .seconds(3_600)
        return limits
    }
}
