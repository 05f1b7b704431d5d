import Flotilla
import FlotillaIO
import Glibc

struct BenchmarkStepsInput: Codable, Sendable {
    var steps: Int
}

/// Moments and latencies are nanoseconds of the machine's monotonic clock, which its processes share.
struct BenchmarkStepsOutput: Codable, Sendable {
    var steps: Int
    var startedAt: UInt64
    var endedAt: UInt64
    var latencyP50: UInt64
    var latencyP99: UInt64
    /// Of the first and of the last tenth of the steps.
    var firstP50: UInt64
    var lastP50: UInt64
}

/// Nothing but steps, one after the other. It measures itself, so it means something only where no node fails on the
/// way.
let benchmarkSteps = Workflow("benchmark_steps", version: 1) {
    (input: BenchmarkStepsInput, context: WorkflowContext) async throws -> BenchmarkStepsOutput in
    let start = monotonicNanoseconds()
    // Of a long one each so many, so that what it measures itself with takes no memory that grows.
    let stride = max(1, input.steps / 100_000)
    var latencies = Array(repeating: UInt64(0), count: (max(0, input.steps) + stride - 1) / stride)
    var last = start
    for number in 0..<max(0, input.steps) {
        _ = try await context.step("step") { _ in number }
        let now = monotonicNanoseconds()
        if number.isMultiple(of: stride) { latencies[number / stride] = now - last }
        last = now
    }
    let tenth = max(1, latencies.count / 10)
    let (first, ending) = (latencies.prefix(tenth).sorted(), latencies.suffix(tenth).sorted())
    latencies.sort()
    func percentile(_ percent: Int) -> UInt64 {
        latencies.isEmpty ? 0 : latencies[max(0, (percent * latencies.count + 99) / 100 - 1)]
    }
    return BenchmarkStepsOutput(
        steps: input.steps, startedAt: start, endedAt: last, latencyP50: percentile(50),
        latencyP99: percentile(99), firstP50: first.isEmpty ? 0 : first[first.count / 2],
        lastP50: ending.isEmpty ? 0 : ending[ending.count / 2])
}

struct BenchmarkChainInput: Codable, Sendable {
    var seed: UInt64
    var steps: Int
}

struct BenchmarkChainOutput: Codable, Sendable {
    var value: UInt64
}

/// Steps whose values depend on each other: one that is lost, repeated or out of order changes the end.
let benchmarkChain = Workflow("benchmark_chain", version: 1) {
    (input: BenchmarkChainInput, context: WorkflowContext) async throws -> BenchmarkChainOutput in
    var value = input.seed
    for number in 0..<UInt64(max(0, input.steps)) {
        let before = value
        value = try await context.step("link") { _ in
            try await Task.sleep(for: .milliseconds(.random(in: 0...10)))
            return (before * 31 + number + 7) % 1_000_003
        }
        if number == 1 { try await context.sleep(for: .milliseconds(50)) }
    }
    return BenchmarkChainOutput(value: value)
}

struct BenchmarkWaitsInput: Codable, Sendable {
    var naps: Int
    var milliseconds: Int
    var signals: Int
}

struct BenchmarkWaitsOutput: Codable, Sendable {
    /// How long each nap was by the clock, in nanoseconds.
    var naps: [Int64]
    /// As they were received.
    var signals: [UInt64]
}

/// Sleeps, and then receives: for tests that look whether a nap was too short, or a signal came twice.
let benchmarkWaits = Workflow("benchmark_waits", version: 1) {
    (input: BenchmarkWaitsInput, context: WorkflowContext) async throws -> BenchmarkWaitsOutput in
    var output = BenchmarkWaitsOutput(naps: [], signals: [])
    for _ in 0..<max(0, input.naps) {
        let begin = try await context.now()
        try await context.sleep(for: .milliseconds(input.milliseconds))
        output.naps.append(try await context.now().nanoseconds - begin.nanoseconds)
    }
    let number = WorkflowSignal<UInt64>("number")
    for _ in 0..<max(0, input.signals) { output.signals.append(try await context.receive(number)) }
    return output
}

private func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
