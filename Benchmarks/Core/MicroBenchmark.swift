import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Glibc

/// `flotilla-bench micro`: instructions for each operation, which hardly depend on what else the machine does. Each
/// operation runs in processes of its own, some times and more times: what counts is the difference.
enum MicroBenchmark {
    static let command = CommandDescription(
        "flotilla-bench micro",
        summary: "Counts instructions per operation, by the processor's counters or by callgrind.",
        options: [
            .value("runs", "N", "how often (default: 1)"),
            .value(
                "operation", "NAME", "only this one: \(MicroOperation.allCases.map(\.rawValue).joined(separator: ", "))"
            ),
            reportOption,
        ])

    private enum Tool: String {
        case perf = "/usr/bin/perf"
        case callgrind = "/usr/bin/valgrind"
    }

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 1
        var operations = MicroOperation.allCases
        if let name = options.string("operation") {
            guard let operation = MicroOperation(rawValue: name) else {
                throw options.fail("--operation \(name): unknown")
            }
            operations = [operation]
        }
        let tool = try await Self.tool()
        let counted = tool == .perf ? "the processor's counters (perf stat)" : "callgrind, since there are no counters"
        try await withReport(
            "micro", options, parameters: ["counted by": tool == .perf ? "perf" : "callgrind"],
            conditions: ["instructions in user space, by \(counted)\(CoreBenchmark.buildNote)"]
        ) { recorder in
            for run in 1...runs {
                var found: [MicroOperation: Double] = [:]
                for operation in operations {
                    recorder.progress.update("run \(run) of \(runs): \(operation.rawValue)")
                    let (few, many) = (operation.count, 3 * operation.count)
                    let difference =
                        try await count(operation, many, by: tool) - (try await count(operation, few, by: tool))
                    found[operation] = difference / Double(many - few)
                    recorder.add(difference / Double(many - few), "instructions", operation.rawValue)
                }
                if let alone = found[.routing], let among = found[.routingAmongMany], let commit = found[.proposal] {
                    recorder.add(
                        100 * (among - alone) / commit, "% of a commit",
                        "TT-31: what 1,000 groups add to a message's way")
                }
            }
        }
    }

    /// What there is to count with.
    private static func tool() async throws -> Tool {
        if access(Tool.perf.rawValue, X_OK) == 0,
            let text = try? await output(of: Tool.perf.rawValue, perfWords(["/bin/true"])),
            MicroCount.perf(text) != nil
        {
            return .perf
        }
        guard access(Tool.callgrind.rawValue, X_OK) == 0 else {
            throw BenchError("there are no counters for perf here; install valgrind")
        }
        return .callgrind
    }

    private static func perfWords(_ words: [String]) -> [String] {
        ["stat", "-x", ",", "-e", "instructions:u"] + words
    }

    private static func count(_ operation: MicroOperation, _ count: Int, by tool: Tool) async throws -> Double {
        let own = [try ownPath(), "micro-operation", "--name", operation.rawValue, "--count", "\(count)"]
        let words = tool == .perf ? perfWords(own) : ["--tool=callgrind", "--callgrind-out-file=/dev/null"] + own
        let text = try await output(of: tool.rawValue, words)
        guard let found = tool == .perf ? MicroCount.perf(text) : MicroCount.callgrind(text) else {
            throw BenchError("\(tool.rawValue) counted nothing: \(text)")
        }
        return found
    }

    private static func output(of path: String, _ words: [String]) async throws -> String {
        try await withScratch("flotilla-micro", contents: "Its messages") { directory in
            let child = try ChildProcess(path: path, arguments: words, environment: [:], log: "\(directory)/log")
            let end = await child.wait(limit: .seconds(600))
            try Task.checkCancellation()
            guard end == .exited(0) else {
                throw BenchError("\(path) \(words.joined(separator: " ")): \(try readText("\(directory)/log"))")
            }
            return try readText("\(directory)/log")
        }
    }
}

/// What tools say they have counted.
enum MicroCount {
    /// The first field of a line of `perf stat -x,`; nil where the machine has no counters.
    static func perf(_ text: String) -> Double? {
        text.split(separator: "\n").lazy
            .filter { $0.contains("instructions:u") }
            .compactMap { $0.split(separator: ",").first.flatMap { Double($0) } }.first
    }

    static func callgrind(_ text: String) -> Double? {
        text.split(separator: "\n").lazy
            .filter { $0.contains("Collected : ") }
            .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.first
    }
}

/// `flotilla-bench micro-operation`: does one operation, a number of times, and ends the process. The main thread waits
/// for it where it is: once it has left `main` for the dispatch library, valgrind cannot follow it.
enum MicroProcess {
    static let command = CommandDescription(
        "flotilla-bench micro-operation",
        summary: "One operation of 'micro', which starts it.",
        options: [.value("name", "NAME", "which"), .value("count", "N", "how often")])

    static func main(_ words: [String]) throws -> Never {
        guard let options = try command.parse(words) else {
            Terminal.write(command.help)
            exit(0)
        }
        guard let operation = options.string("name").flatMap(MicroOperation.init(rawValue:)),
            let count = try options.number("count", in: 1...1_000_000_000)
        else { throw options.fail("all options have to be given") }
        let outcome = Lock<Result<Void, any Error>?>(nil)
        let isOver = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
        sem_init(isOver, 0, 0)
        // An address may be told to any thread, and that of a semaphore is there to be.
        let place = UInt(bitPattern: isOver)
        Task.detached {
            let result: Result<Void, any Error>
            do { result = .success(try await operation.perform(count)) } catch { result = .failure(error) }
            outcome.withLock { $0 = result }
            sem_post(UnsafeMutablePointer<sem_t>(bitPattern: place)!)
        }
        while sem_wait(isOver) != 0 {}
        try outcome.withLock { $0 }?.get()
        exit(0)
    }
}

enum MicroOperation: String, CaseIterable {
    case proposal = "proposal through the core, alone"
    case proposalInBatch = "proposal through the core, of 64"
    case entryEncoded = "entry encoded"
    case entryDecoded = "entry decoded"
    case commandEncoded = "command encoded"
    case commandDecoded = "command decoded"
    case entryLogged = "entry to the log on disk, of 64"
    case hop = "hop between actors of one loop"
    case routing = "message to a group, the node's only one"
    case routingAmongMany = "message to a group, one of 1,000"
    case step = "step of a workflow, one node in memory"

    /// Enough that what is done once disappears, and few enough for a tool that is fifty times slower.
    var count: Int {
        switch self {
        case .proposal: 2_000
        case .proposalInBatch, .entryEncoded, .entryDecoded, .commandEncoded, .commandDecoded, .entryLogged: 64 * 100
        case .hop: 5_000
        case .routing, .routingAmongMany: 20_000
        case .step: 100
        }
    }

    func perform(_ count: Int) async throws {
        switch self {
        case .proposal: Self.propose(count, batch: 1)
        case .proposalInBatch: Self.propose(count, batch: 64)
        case .entryEncoded:
            let entries = AllocationBenchmark.entries(from: 1)
            for _ in 0..<count / 64 { withExtendedLifetime(AllocationBenchmark.encode(entries)) {} }
        case .entryDecoded:
            let bytes = AllocationBenchmark.encode(AllocationBenchmark.entries(from: 1))
            for _ in 0..<count / 64 { withExtendedLifetime(try AllocationBenchmark.decode(bytes)) {} }
        case .commandEncoded:
            for _ in 0..<count { withExtendedLifetime(AllocationBenchmark.sample.encoded()) {} }
        case .commandDecoded:
            let bytes = AllocationBenchmark.sample.encoded()
            for _ in 0..<count { withExtendedLifetime(try Command(decoding: bytes)) {} }
        case .entryLogged: try Self.log(count)
        case .hop: try await Self.hop(count)
        case .routing: try await Self.route(count, groups: 1)
        case .routingAmongMany: try await Self.route(count, groups: 1_000)
        case .step: try await Self.step(count)
        }
    }

    private static func propose(_ count: Int, batch: Int) {
        var group = MemoryGroup(replicas: 3)
        let payloads = [[UInt8]](repeating: [UInt8](repeating: 7, count: 128), count: batch)
        for _ in 0..<count / batch { group.commit(payloads) }
    }

    private static func log(_ count: Int) throws {
        let scratch = try Scratch("flotilla-micro")
        defer { scratch.remove() }
        let store = DiskLogStore(directory: scratch.path, fileSystem: PosixFileSystem())
        var load = try LogLoad(store, groups: 1, bytes: 128)
        for _ in 0..<count / 64 { try load.append(64, to: [0]) }
        try store.close()
    }

    private actor Hopper {
        nonisolated let unownedExecutor: UnownedSerialExecutor
        private let other: Hopper?
        private var count = 0

        init(_ loop: EventLoop, other: Hopper?) {
            unownedExecutor = loop.asUnownedSerialExecutor()
            self.other = other
        }

        // It has state, or the optimiser would do without the hop.
        func note() { count += 1 }

        func run(_ times: Int) async { for _ in 0..<times { await other?.note() } }
    }

    private static func hop(_ count: Int) async throws {
        let loop = EventLoop(name: "micro")
        try loop.start()
        await Hopper(loop, other: Hopper(loop, other: nil)).run(count)
        await loop.shutdown()
    }

    private static func route(_ count: Int, groups: Int) async throws {
        let node = try await RoutingNode(groups: groups)
        await node.take(count)
        await node.stop()
    }

    private static func step(_ count: Int) async throws {
        let steps = Workflow("steps", version: 1) { (count: Int, context: WorkflowContext) async throws in
            for number in 0..<count { _ = try await context.step("step") { _ in number } }
            return count
        }
        try await withNode(NodeConfiguration(listen: "127.0.0.1:0", data: .memory), workflows: [steps]) { node in
            _ = try await node.start(steps, id: "steps", input: count).result()
        }
    }
}
