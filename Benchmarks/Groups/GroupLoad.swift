import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Keeps a number of commands in flight in one group for a while; the callers are in the process of its leader.
struct GroupLoad: Sendable {
    var callers: Int
    /// Before anything is counted.
    var warmup: Duration
    var length: Duration
    /// Of each command's body.
    var bytes: Int

    init(callers: Int, warmup: Duration, length: Duration, bytes: Int) {
        self.callers = callers
        self.warmup = warmup
        self.length = length
        self.bytes = bytes
    }

    var query: String {
        "callers=\(callers)&warmup=\(Int(warmup.milliseconds))&length=\(Int(length.milliseconds))&bytes=\(bytes)"
    }

    init?(_ request: HTTPRequest) {
        func number(_ name: String) -> Int? { request.query(name).flatMap { Int($0) } }
        guard let callers = number("callers"), let warmup = number("warmup"), let length = number("length"),
            let bytes = number("bytes")
        else { return nil }
        self.init(callers: callers, warmup: .milliseconds(warmup), length: .milliseconds(length), bytes: bytes)
    }

    func run(_ group: RaftGroup) async throws -> LoadResult {
        let begin = monotonicNanoseconds() + UInt64(warmup.milliseconds * 1e6)
        let end = begin + UInt64(length.milliseconds * 1e6)
        let operation = Operation(type: 1, version: 1, body: Array(repeating: 7, count: bytes))
        let latencies = try await withThrowingTaskGroup(of: [UInt64].self) { tasks in
            for _ in 0..<callers {
                tasks.addTask {
                    var latencies: [UInt64] = []
                    while true {
                        let start = monotonicNanoseconds()
                        guard start < end else { return latencies }
                        _ = try await group.propose([operation], ownerEpoch: 0)
                        let done = monotonicNanoseconds()
                        if done >= begin, done < end { latencies.append(done - start) }
                    }
                }
            }
            return try await tasks.reduce(into: []) { $0 += $1 }
        }
        return LoadResult(nanoseconds: latencies, length: length)
    }
}

/// What came of a load. Programs of peers write the same as a line of JSON.
struct LoadResult: Codable, Sendable {
    var operations: Int
    var seconds: Double
    /// Latencies, in microseconds.
    var p50: Double
    var p99: Double
    var p999: Double
    var most: Double

    init(nanoseconds: [UInt64], length: Duration) {
        let sorted = nanoseconds.sorted()
        func at(_ share: Double) -> Double {
            guard !sorted.isEmpty else { return 0 }
            let rank = Int((share * Double(sorted.count)).rounded(.up))
            return Double(sorted[max(0, rank - 1)]) / 1_000
        }
        operations = sorted.count
        seconds = length / .seconds(1)
        (p50, p99, p999, most) = (at(0.5), at(0.99), at(0.999), at(1))
    }

    var perSecond: Double { Double(operations) / seconds }
}
