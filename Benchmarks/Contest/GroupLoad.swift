import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a contestant is given to do, and with what disk.
struct GroupLoad: Hashable, Codable, Sendable {
    /// Requests in flight, at most.
    var callers = 1
    /// Before anything is counted.
    var warmupMilliseconds = 1_000
    var milliseconds = 3_000
    /// Of each command's body.
    var bytes = 128
    /// Requests a second, each at its time whatever the others take: an open loop. 0 is a closed one, in which a caller
    /// sends its next request when it has the answer.
    var rate = 0
    /// How much longer every fsync takes than it does, in microseconds.
    var fsyncDelay = 0
    /// Groups that there are, and how many of those are worked.
    var groups = 1
    var active = 1
    var operation = Operation.propose

    enum Operation: String, Codable, Sendable {
        case propose
        /// A linearizable read of nothing.
        case read
    }

    var warmup: Duration { .milliseconds(warmupMilliseconds) }
    var length: Duration { .milliseconds(milliseconds) }

    func with(_ change: (inout GroupLoad) -> Void) -> GroupLoad {
        var load = self
        change(&load)
        return load
    }
}

// MARK: On a command line, and in a report

extension GroupLoad {
    init(_ options: ParsedOptions) throws {
        milliseconds = (try options.number("seconds", in: 1...600) ?? 3) * 1_000
        bytes = try options.number("bytes", in: 8...1_000_000) ?? 128
        rate = try options.number("rate", in: 1...10_000_000) ?? 0
        fsyncDelay = try options.number("fsync-delay", in: 1...1_000_000) ?? 0
    }

    /// As the load programs take it.
    var words: [String] {
        [
            "\(callers)", rounded(Double(warmupMilliseconds) / 1_000, 3), rounded(Double(milliseconds) / 1_000, 3),
            "\(bytes)", "\(rate)",
        ]
    }

    static let rateParameter = "requests a second"
    static let fsyncDelayParameter = "microseconds added to each fsync"

    var parameters: [String: String] {
        var parameters = ["bytes": "\(bytes)", "seconds": rounded(Double(milliseconds) / 1_000, 3)]
        if rate > 0 { parameters[Self.rateParameter] = "\(rate)" }
        if fsyncDelay > 0 { parameters[Self.fsyncDelayParameter] = "\(fsyncDelay)" }
        return parameters
    }

    var conditions: [String] {
        var conditions = [
            rate == 0
                ? "closed loop: a caller sends the next request when it has the answer, so latencies are those at the "
                    + "throughput beside them"
                : "open loop: requests are due at a fixed rate, and a latency counts from that moment, so that one "
                    + "that waits for a free caller is not left out"
        ]
        if fsyncDelay > 0 {
            conditions.append(
                "strace holds every fsync of every process \(fsyncDelay) us longer, and costs about 50 us itself; the "
                    + "processor time of strace is not counted")
        }
        return conditions
    }
}

// MARK: By callers in this process

extension GroupLoad {
    /// How far an open loop may be behind at its end, in nanoseconds.
    private static let patience: UInt64 = 60_000_000_000

    /// Works groups of this process.
    /// - Parameter body: one request of a caller; its number says which.
    func run(_ body: @escaping @Sendable (_ caller: Int) async throws -> Void) async throws -> LoadResult {
        let begin = monotonicNanoseconds() + UInt64(warmupMilliseconds) * 1_000_000
        let end = begin + UInt64(milliseconds) * 1_000_000
        let pace = Pace(rate: rate, from: monotonicNanoseconds())
        let isOpen = rate > 0
        let givenUp = end + Self.patience
        let latencies = try await withThrowingTaskGroup(of: [UInt64].self) { tasks in
            for caller in 0..<callers {
                tasks.addTask {
                    var latencies: [UInt64] = []
                    while true {
                        let start = try await pace.next()
                        guard start < end else { return latencies }
                        try await body(caller)
                        let done = monotonicNanoseconds()
                        guard done < givenUp else {
                            throw BenchError("\(rate) requests a second are more than it can do")
                        }
                        // What was due in time counts, however late it was done.
                        if isOpen ? start >= begin : done >= begin && done < end { latencies.append(done - start) }
                    }
                }
            }
            return try await tasks.reduce(into: []) { $0 += $1 }
        }
        return LoadResult(nanoseconds: latencies, length: length)
    }

    /// Works the first `active` of these groups.
    func run(_ groups: [RaftGroup]) async throws -> LoadResult {
        let worked = Array(groups.prefix(active))
        precondition(!worked.isEmpty, "a load needs a group")
        let command = FlotillaActors.Operation(type: 1, version: 1, body: Array(repeating: 7, count: bytes))
        switch operation {
        case .propose:
            return try await run { _ = try await worked[$0 % worked.count].propose([command], ownerEpoch: 0) }
        case .read:
            return try await run { try await worked[$0 % worked.count].barrier() }
        }
    }
}

/// Says when a caller sends its next request. In an open loop the requests have places in time that do not depend on
/// the answers: who comes late to one begins at once, and counts from that place on.
struct Pace: Sendable {
    private let interval: Double
    private let start: UInt64
    private let taken = Lock(0)

    /// - Parameter rate: places a second; 0 is a closed loop.
    init(rate: Int, from start: UInt64) {
        interval = rate == 0 ? 0 : 1e9 / Double(rate)
        self.start = start
    }

    /// - Returns: the moment from which the next request counts; not before it.
    func next() async throws -> UInt64 {
        guard interval > 0 else { return monotonicNanoseconds() }
        let place = taken.withLock { taken in
            defer { taken += 1 }
            return taken
        }
        let due = start + UInt64(Double(place) * interval)
        let now = monotonicNanoseconds()
        if due > now { try await Task.sleep(for: .nanoseconds(Int64(due - now)), tolerance: .zero) }
        return due
    }
}

/// What came of a load. Programs of peers write the same as a line of JSON.
struct LoadResult: Codable, Hashable, Sendable {
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

    /// Of several processes at the same time: what they did together, and the highest latencies of any of them.
    init(together results: [LoadResult]) {
        operations = results.reduce(0) { $0 + $1.operations }
        seconds = results.map(\.seconds).max() ?? 0
        p50 = results.map(\.p50).max() ?? 0
        p99 = results.map(\.p99).max() ?? 0
        p999 = results.map(\.p999).max() ?? 0
        most = results.map(\.most).max() ?? 0
    }

    var perSecond: Double { seconds > 0 ? Double(operations) / seconds : 0 }
}
