import Flotilla
import FlotillaIO

/// Whole nodes of one process, over loopback sockets and with logs on the disk. They share two loops and two workers, since
/// a machine with two processors gains nothing from more threads.
final class InProcessFleet: Sendable {
    /// Where nodes keep their logs.
    private let directory: String
    private let loops: [EventLoop]
    private let workers: [ThreadWorker]
    private let configure: @Sendable (inout NodeConfiguration) -> Void
    private let workflows: [any RegisterableWorkflow]
    private let state = Lock<[Node]>([])

    private static let loopCount = 2
    private static let segmentSizeLimit: UInt64 = 1 << 20

    init(
        directory: String, workflows: [any RegisterableWorkflow],
        configure: @escaping @Sendable (inout NodeConfiguration) -> Void
    ) throws {
        self.directory = directory
        self.workflows = workflows
        self.configure = configure
        var loops: [EventLoop] = []
        var workers: [ThreadWorker] = []
        for number in 0..<Self.loopCount {
            let loop = EventLoop(name: "fleet-\(number)")
            try loop.start()
            loops.append(loop)
            workers.append(try ThreadWorker(name: "fleet-log-\(number)"))
            workers.append(try ThreadWorker(name: "fleet-bulk-\(number)"))
        }
        (self.loops, self.workers) = (loops, workers)
    }

    var nodes: [Node] { state.withLock { $0 } }

    /// Runs `count` nodes while `body` does, and leaves nothing behind.
    func run<Result: Sendable>(
        _ count: Int, progress: Progress, _ body: @escaping @Sendable (InProcessFleet) async throws -> Result
    ) async throws -> Result {
        let result = try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            var seed = ""
            for number in 1...count {
                let node = makeNode(UInt64(number), seed: seed)
                state.withLock { $0.append(node) }
                group.addTask { try await node.run() }
                if number == 1 {
                    try await node.untilReady()
                    seed = try await node.addresses().peers
                }
            }
            for (number, node) in nodes.enumerated() {
                progress.update("\(number) of \(count) nodes are ready")
                try await node.untilReady()
            }
            return try await body(self)
        }
        return result
    }

    func shutdown() async {
        for worker in workers { await worker.shutdown() }
        for loop in loops { await loop.shutdown() }
    }

    private func makeNode(_ id: UInt64, seed: String) -> Node {
        var configuration = NodeConfiguration(
            id: id, listen: "127.0.0.1:0", data: .directory("\(directory)/\(id)"), join: seed.isEmpty ? [] : [seed])
        configure(&configuration)
        let place = Int(id) % Self.loopCount
        var environment = NodeEnvironment(
            loop: loops[place], network: TCPNetwork(), fileSystem: PosixFileSystem(), logWorker: workers[2 * place],
            bulkWorker: workers[2 * place + 1], seed: .random(in: .min ... .max),
            random: { .random(in: .min ... .max) }, shutdown: {})
        environment.logSegmentSizeLimit = Self.segmentSizeLimit
        return Node(configuration, workflows: workflows, environment: environment)
    }
}
