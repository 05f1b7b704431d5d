import Flotilla
import FlotillaIO

/// Workflows that record one checkpoint after the other for as long as they are told to, so that a rate is measured between
/// their starts and their ends.
final class SustainedLoad: Sendable {
    static let duration: Duration = .seconds(5)
    /// Until all have begun, in one cluster of a hundred nodes as well.
    private static let startLimit: Duration = .seconds(120)

    private struct State {
        var begun = 0
        var isMeasured = false
        var isOver = false
        /// In milliseconds.
        var latencies: [Double] = []
    }

    let workflow: Workflow<Int, Int>
    private let state: Lock<State>

    init() {
        let state = Lock(State())
        self.state = state
        workflow = Workflow("sustained", version: 1) { _, context in
            var number = 0
            while !state.withLock({ $0.isOver }) {
                let start = ContinuousClock.now
                try await context.checkpoint("progress", number)
                let taken = (ContinuousClock.now - start).milliseconds
                state.withLock { state in
                    if number == 0 { state.begun += 1 }
                    if state.isMeasured { state.latencies.append(taken) }
                }
                number += 1
            }
            return number
        }
    }

    /// - Returns: how long each checkpoint took that was recorded within `duration`, in milliseconds.
    func measure(_ fleet: InProcessFleet, workflows count: Int) async throws -> [Double] {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<count {
                let node = fleet.nodes[number % fleet.nodes.count]
                group.addTask { [workflow] in
                    _ = try await node.start(workflow, id: "sustained-\(number)", input: 0).result()
                }
            }
            group.addTask { [self] in
                defer { state.withLock { $0.isOver = true } }
                let deadline = ContinuousClock.now + Self.startLimit
                while state.withLock({ $0.begun }) < count {
                    guard ContinuousClock.now < deadline else {
                        throw BenchError("\(state.withLock { $0.begun }) of \(count) workflows began")
                    }
                    try await Task.sleep(for: .milliseconds(10))
                }
                state.withLock { $0.isMeasured = true }
                try await Task.sleep(for: Self.duration)
                state.withLock { $0.isMeasured = false }
            }
            try await group.waitForAll()
        }
        return state.withLock { $0.latencies }
    }
}
