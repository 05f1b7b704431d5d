import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FoundationEssentials

/// `flotilla-bench groups-node`: one node of `flotilla-bench groups`, with as many groups as it is asked for. It is a
/// node without management: who its peers are stands on its command line.
enum GroupsNode {
    static let command = CommandDescription(
        "flotilla-bench groups-node",
        summary: "One node of 'groups', which starts it.",
        options: [
            .value("id", "N", "this node's id, from 1"),
            .value("peers", "ADDRESSES", "where the nodes listen, in the order of their ids"),
            .value("http", "ADDRESS", "where it is asked"),
            .value("data", "FOLDER", "where it keeps its log"),
            .value("kind", "KIND", "benchmark or workflow"),
            .value("clients", "ADDRESS", "where it takes clients (default: nowhere)"),
            .flag("unsynced", "answer before anything is durable"),
            .flag("lease", "serve reads by the leader's lease"),
        ])

    /// The first of the groups that are founded; the others have the numbers behind it.
    static let firstGroup: UInt64 = 100

    static func run(_ options: ParsedOptions) async throws {
        guard let id = try options.number("id", in: 1...100), let peers = options.string("peers"),
            let http = options.string("http"), let data = options.string("data"),
            let kind = options.string("kind").flatMap(GroupsBenchmark.Kind.init(rawValue:))
        else { throw options.fail("all options have to be given") }
        let addresses = peers.split(separator: ",").map(String.init)
        let loop = EventLoop(name: "node")
        try loop.start()
        let logWorker = try ThreadWorker(name: "log")
        let bulkWorker = try ThreadWorker(name: "bulk")
        let files: any FileSystem =
            options.has("unsynced") ? CountingFileSystem(isSynced: false) : PosixFileSystem()
        let store = DiskLogStore(directory: data, fileSystem: files)
        var settings = GroupSettings()
        if options.has("lease") { settings.readConsistency = .lease }
        let recovered = try store.open()
        let identity = NodeIdentity(cluster: 1, node: NodeID(UInt64(id)), instance: UInt64(id))
        if recovered.identity == nil { try store.persistIdentity(identity) }
        let snapshots = SnapshotStore(
            directory: data + "/snapshots", files: files,
            executor: WorkerExecutor(bulkWorker, loop: loop), options: SnapshotStore.Options())
        let states = try await snapshots.open(for: recovered)
        let checkpoints = CheckpointJournal(inMemoryOn: bulkWorker, loop: loop)
        let duties = LeaderDuties(executorTimeout: .seconds(1), retention: WorkflowRetention(), portion: 100)
        var registry = StateMachineRegistry()
        registry.register(.benchmark) { _ in Ballast(Ballast.View(blocks: [])) }
        let types = WorkflowTypeSets()
        registry.register(.workflow) {
            WorkflowStateMachine(group: $0, checkpoints: checkpoints, types: types, attention: duties.note)
        }
        let core = NodeCore(
            NodeCore.Parts(
                identity: identity, boot: recovered.bootCounter, address: addresses[id - 1], loop: loop,
                network: TCPNetwork(), store: store, logWorker: logWorker, readWorker: bulkWorker,
                snapshots: snapshots, settings: settings, registry: registry, featureLevel: FeatureLevel(),
                capabilities: [], seed: UInt64(id), logger: .silent))
        _ = try await core.start(listen: addresses[id - 1])
        try await core.host(recovered, snapshots: states)
        let members = (1...UInt64(addresses.count)).map(NodeID.init)
        core.setMembers(
            Dictionary(
                uniqueKeysWithValues: members.map {
                    ($0, (instance: $0.rawValue, address: addresses[Int($0.rawValue) - 1]))
                }))
        core.setMembersHandler { duties.note($0) }
        await core.setTickHandler { duties.tick(core, members: Set(members)) }
        let clusters = try ExecutionClusters(
            core, workflows: workflows, checkpoints: checkpoints, boot: recovered.bootCounter,
            limits: WorkflowLimits(), logger: .silent, random: { .random(in: .min ... .max) }, didChange: { _ in })
        let handler = GroupsHandler(core: core, members: members, kind: kind)
        // A connection for each caller of the load over HTTP.
        var limits = HTTPServerLimits()
        limits.connectionsMax = 4_096
        let server = try await HTTPServer.start(on: http, loop: loop, limits: limits) { await handler.respond(to: $0) }
        var clientServer: ClientServer?
        if let address = options.string("clients") {
            clientServer = try await ClientServer.start(
                on: address, loop: loop, network: TCPNetwork(), node: core.node, cluster: identity.cluster
            ) { ClientProposal.take($0, core) }.server
        }
        await withDiscardingTaskGroup { tasks in
            tasks.addTask { await clusters.run() }
            await server.run()
            tasks.cancelAll()
        }
        await clientServer?.stop()
        await core.stop()
        await logWorker.shutdown()
        await bulkWorker.shutdown()
        try store.close()
        await loop.shutdown()
    }

    /// What a node of a small service may have.
    private static let workflows: [any RegisterableWorkflow] =
        ["order_processing", "payment_collection", "shipment_tracking", "monthly_statements"].map { name in
            Workflow(name, version: 1) { (input: Int, _: WorkflowContext) async throws -> Int in input }
        }
}

/// What a node of the benchmark says of itself.
struct GroupsReport: Codable, Sendable {
    /// Hosted, and how many of them are quiet, and led by this node.
    var groups = 0
    var quiet = 0
    var led = 0
    /// Since the start.
    var messages: UInt64 = 0
    var frames: UInt64 = 0
    var passes: UInt64 = 0
    var processorNanoseconds: UInt64 = 0
    /// Now.
    var residentKilobytes = 0
    var heapBytes = 0
}

/// How long commands of groups took, in milliseconds.
struct GroupsLatency: Codable, Sendable {
    var median = 0.0
    var p99 = 0.0
    var most = 0.0
}

/// Does what the benchmark asks of a node.
private struct GroupsHandler: Sendable {
    let core: NodeCore
    let members: [NodeID]
    let kind: GroupsBenchmark.Kind

    /// Groups that are founded, and commands that wait, at a time.
    private static let concurrency = 512

    func respond(to request: HTTPRequest) async -> HTTPResponse {
        func number(_ name: String) -> Int? { request.query(name).flatMap { Int($0) } }
        do {
            switch request.path {
            case "/report": return try Self.json(try await report())
            case "/usage": return try Self.json(await usage())
            case "/found":
                guard let count = number("count") else { return .problem(status: 400, detail: "count is missing") }
                try await found(count, leader: number("leader"))
                return HTTPResponse(status: 204)
            case "/commit":
                guard let since = number("since") else { return .problem(status: 400, detail: "since is missing") }
                return try Self.json(try await commit(since: UInt64(since)))
            case "/load":
                guard let text = request.query("load"),
                    let load = try? JSONDecoder().decode(GroupLoad.self, from: Data(text.utf8))
                else { return .problem(status: 400, detail: "the load is missing") }
                return try Self.json(try await work(load))
            case HTTPProposal.path: return try await HTTPProposal.respond(to: request, core)
            default: return .problem(status: 404, detail: request.path)
            }
        } catch {
            return .problem(status: 500, detail: "\(error)")
        }
    }

    private static func json(_ value: some Encodable) throws -> HTTPResponse {
        HTTPResponse(status: 200, body: Array(try JSONEncoder().encode(value)))
    }

    // MARK: Founding

    /// - Parameter leader: of all groups; nil spreads them over the nodes.
    private func found(_ count: Int, leader: Int?) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in 0..<count {
                if number >= Self.concurrency { try await tasks.next() }
                tasks.addTask {
                    // The first voter of a new group campaigns at once.
                    let first = leader.map { $0 - 1 } ?? number
                    try await core.found(
                        GroupFoundation(
                            group: GroupID(UInt64(number) + GroupsNode.firstGroup), incarnation: 1,
                            kind: kind.groupKind,
                            voters: members.indices.map { members[(first + $0) % members.count] }))
                }
            }
            try await tasks.waitForAll()
        }
    }

    // MARK: Commands

    /// Works those of the active groups that this node leads.
    private func work(_ load: GroupLoad) async throws -> LoadResult {
        var led: [RaftGroup] = []
        for group in core.hosted.all.prefix(load.active)
        where try await group.report().status.role == .leader {
            led.append(group)
        }
        guard !led.isEmpty else { return LoadResult(nanoseconds: [], length: load.length) }
        return try await load.run(led)
    }

    /// One command for each group, and how long after a moment each was committed and applied here.
    /// - Parameter since: nanoseconds of the machine's monotonic clock.
    private func commit(since: UInt64) async throws -> GroupsLatency {
        let since = MonotonicTime(nanoseconds: since)
        let taken = try await withThrowingTaskGroup(of: Duration.self) { tasks in
            for group in core.hosted.all {
                tasks.addTask {
                    _ = try await group.propose([kind.operation], ownerEpoch: 0)
                    return since.duration(to: core.loop.now)
                }
            }
            return try await tasks.reduce(into: [Duration]()) { $0.append($1) }
        }
        return GroupsLatency(
            median: Statistics.median(taken)?.milliseconds ?? 0,
            p99: Statistics.percentile(99, of: taken)?.milliseconds ?? 0, most: taken.max()?.milliseconds ?? 0)
    }

    // MARK: Figures

    private static let looksAtOnce = 32

    private func report() async throws -> GroupsReport {
        var report = await usage()
        // Not one after the other, since each takes a turn of a loop that may be busy; nor all at once, or what is measured
        // would be the memory of this look.
        var groups = core.hosted.all.makeIterator()
        try await withThrowingTaskGroup(of: (isQuiet: Bool, isLed: Bool).self) { tasks in
            func look() {
                guard let group = groups.next() else { return }
                tasks.addTask {
                    let line = try await group.report()
                    return (line.isQuiet, line.status.role == .leader)
                }
            }
            for _ in 0..<Self.looksAtOnce { look() }
            for try await line in tasks {
                report.groups += 1
                if line.isQuiet { report.quiet += 1 }
                if line.isLed { report.led += 1 }
                look()
            }
        }
        return report
    }

    /// What needs no look at the groups.
    private func usage() async -> GroupsReport {
        var report = GroupsReport()
        let (scheduler, transport) = await core.counters()
        report.messages = scheduler.messagesOut
        report.frames = transport.framesOut
        report.passes = scheduler.passes
        let usage = ProcessUsage.current()
        report.processorNanoseconds = usage.processorNanoseconds
        report.residentKilobytes = usage.residentKilobytes
        report.heapBytes = usage.heapBytes
        return report
    }
}
