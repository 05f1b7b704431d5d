public import Flotilla
package import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Glibc

/// Whole nodes in one simulated world: the node, groups, log and workflow engine of production, on virtual time and a
/// simulated network and disk. `withSimulation` makes one.
///
/// Nodes are numbered from 1, in the order in which they were added; node 1 founds the cluster and the others join it.
///
/// Use it from the tasks of its simulation only. What cannot be done (a crash of a node that does not run, a number
/// that no node has) ends the simulation with `SimulationError.Code.misuse`, which says what was wrong, unless the
/// method throws that error itself.
public final class SimulatedCluster: @unchecked Sendable {
    // Unchecked: all state is touched on the simulation's thread only, which the world's entry points check.

    /// Time, chance, links and disks, for what the methods here do not cover.
    public let world: SimulationWorld
    /// Changes the configuration of every node that starts from now on: thresholds, time limits and the like.
    public var configure: (@Sendable (inout NodeConfiguration) -> Void)?
    /// Sees every step of every group of the nodes that start from now on.
    package var observer: (any GroupObserver)?

    /// How busy each node says that its machine is, from 0 to 1.
    public var machineLoad = 0.0 { didSet { sharedLoad.withLock { [machineLoad] in $0 = machineLoad } } }
    private let sharedLoad = Lock(0.0)

    /// What each node runs, at its next start.
    private var workflows: [Int: [any RegisterableWorkflow]] = [:]
    let stepFaults = StepFaults()
    /// How far the calendar has been turned ahead, for machines that come later.
    var skipped: Duration = .zero
    private var lives: [Int: Life] = [:]
    /// Why nodes are down that have ended by themselves.
    private var failures: [Int: any Error] = [:]
    private var log = EventLog()
    /// Runs a node in the scope of `withSimulation`.
    private let launch: (@escaping @Sendable () async -> Void) -> Void

    /// One start of a node, until its process has ended.
    private final class Life: @unchecked Sendable {
        // Unchecked: as the cluster.
        let node: Node
        let process: SimulatedProcess
        let stop = Promise<Void>()
        let ended = Promise<Void>()
        var isStopping = false
        init(node: Node, process: SimulatedProcess) {
            self.node = node
            self.process = process
        }
    }

    init(_ world: SimulationWorld, launch: @escaping (@escaping @Sendable () async -> Void) -> Void) {
        self.world = world
        self.launch = launch
    }

    // MARK: Nodes

    /// The numbers of all nodes, running or not.
    public var nodes: [Int] { workflows.keys.sorted() }

    /// The numbers of the nodes whose processes run.
    public var runningNodes: [Int] { lives.keys.sorted() }

    /// A running node, to start workflows on, wait for them and look at its status, as code beside a real node does.
    ///
    /// It is the node of one process: after a crash its calls throw, and the node that `restart` makes is another.
    /// - Throws: `SimulationError` (`misuse`) where no node has the number, or it is down.
    public func node(_ number: Int) throws -> Node {
        guard let life = lives[number] else { throw misuse(whyDown(number)) }
        return life.node
    }

    /// Adds a machine with an empty disk and starts its node. It is no member yet: `untilFormed` waits for that.
    /// - Parameter workflows: what the node can run; none make it a voter that runs nothing.
    /// - Returns: its number.
    @discardableResult
    public func addNode(workflows: [any RegisterableWorkflow]) -> Int {
        let number = (nodes.last ?? 0) + 1
        self.workflows[number] = workflows
        note("added", node: number)
        if skipped != .zero { jumpWallClock(of: number, by: skipped) }
        start(number)
        return number
    }

    // MARK: Ends and starts

    /// Ends a node's process without warning.
    /// - Parameter dropUnsynced: true is a power failure, after which the disk holds what was synced and nothing else;
    ///   false is `kill -9`, after which it holds all that was written.
    public func crash(_ number: Int, dropUnsynced: Bool = false) {
        end(number, dropUnsynced ? .powerLost(.dropped) : .killed)
    }

    /// Lets the power of a node fail; `unsynced` says what becomes of the bytes that were not synced.
    public func crash(_ number: Int, unsynced: UnsyncedFate) {
        end(number, .powerLost(unsynced))
    }

    /// Starts a node that is down, on the disk that its previous life left.
    /// - Parameter workflows: what it runs from now on; nil for what it ran before. A rolling upgrade gives other ones
    ///   to one node after the other.
    public func restart(_ number: Int, workflows: [any RegisterableWorkflow]? = nil) {
        guard self.workflows[number] != nil else { return fail(unknown(number)) }
        guard lives[number] == nil else { return fail("node \(number) runs; crash or stop it before its restart") }
        if let workflows { self.workflows[number] = workflows }
        failures[number] = nil
        start(number)
    }

    /// Stops a node as SIGTERM does: it hands leadership and runs over first. Returns when its process has ended.
    public func stop(_ number: Int) async {
        guard let life = lives[number] else { return fail(whyDown(number)) }
        guard !life.isStopping else { return fail("node \(number) is being stopped already") }
        note("stops", node: number)
        life.isStopping = true
        life.stop.fulfill(())
        // Cancelled only when the simulation itself ends.
        try? await life.ended.wait()
    }

    /// Why a node has ended by itself, and forgets it; nil if it has not. What is not taken, and not answered by a
    /// restart, fails the simulation at its end.
    public func takeFailure(of number: Int) -> (any Error)? { failures.removeValue(forKey: number) }

    private func end(_ number: Int, _ end: SimulatedProcess.End) {
        guard let life = lives[number] else { return fail(whyDown(number)) }
        switch end {
        case .killed: note("killed", node: number)
        case .powerLost(let fate): note("power lost, unsynced bytes \(fate)", node: number)
        }
        finish(number, life, end)
    }

    private func finish(_ number: Int, _ life: Life, _ end: SimulatedProcess.End) {
        if lives[number] === life { lives[number] = nil }
        life.process.end(end)
        life.stop.fulfill(())
        life.ended.fulfill(())
    }

    private func start(_ number: Int) {
        let process = world.start(NodeID(UInt64(number)))
        let definitions = (workflows[number] ?? []).map { [stepFaults] in
            $0.definition.intercepted(by: stepFaults.meet)
        }
        let node = Node(configuration(number, process), workflows: definitions, environment: environment(of: process))
        let life = Life(node: node, process: process)
        lives[number] = life
        note("starts, life \(process.incarnation)", node: number)
        // The disk may cut the power in the middle of one of its own calls.
        process.didEnd = { [weak self] in
            life.stop.fulfill(())
            guard let self, lives[number] === life else { return }
            note("power lost in a call on its disk", node: number)
            finish(number, life, .killed)
        }
        launch { [self] in
            await withDiscardingTaskGroup { group in
                group.addTask { [self] in await run(number, life) }
                // Cancelled only with the simulation, and then the group is as well.
                try? await life.stop.wait()
                group.cancelAll()
            }
        }
    }

    private func run(_ number: Int, _ life: Life) async {
        do {
            try await life.node.run()
        } catch {
            if life.process.isAlive {
                note("ended by itself: \(error)", node: number)
                failures[number] = error
            }
        }
        finish(number, life, .killed)
    }

    private func configuration(_ number: Int, _ process: SimulatedProcess) -> NodeConfiguration {
        var configuration = NodeConfiguration(
            id: UInt64(number), listen: "sim-\(number):7000", data: .directory("/data"),
            join: number == 1 ? [] : ["sim-1:7000"])
        configuration.logger = logger(number, process)
        configuration.limits.wallClockCheckInterval = Self.wallClockCheckInterval
        configure?(&configuration)
        return configuration
    }

    /// Short, so that nobody waits long after `skip`.
    static let wallClockCheckInterval: Duration = .seconds(5)
    /// Small, so that scenarios see segments change and come into use again.
    private static let logSegmentSizeLimit: UInt64 = 256 << 10

    private func environment(of process: SimulatedProcess) -> NodeEnvironment {
        let random = Lock(SeededGenerator(seed: world.nextSeed()))
        var environment = NodeEnvironment(
            loop: process.loop, network: process.network, fileSystem: process.fileSystem,
            logWorker: process.makeWorker(), bulkWorker: process.makeWorker(), seed: world.nextSeed(),
            random: { random.withLock { $0.next() } }, shutdown: {})
        environment.observer = observer
        environment.load = { [sharedLoad] in sharedLoad.withLock { $0 } }
        environment.logSegmentSizeLimit = Self.logSegmentSizeLimit
        return environment
    }

    func endAll() {
        for (number, life) in lives.sorted(by: { $0.key < $1.key }) { finish(number, life, .killed) }
    }

    /// What keeps a scenario that came to its end from having passed.
    func failure() -> SimulationError? {
        guard let (number, error) = failures.min(by: { $0.key < $1.key }) else { return nil }
        return world.error(.nodeFailed, "node \(number) ended by itself: \(error)", cause: error)
    }

    // MARK: The event log

    /// What has happened so far, a line each: the nodes' own log from `info` on, what was done to them, and what the
    /// scenario has noted. Byte for byte the same for one seed.
    public var eventLog: String { log.text }

    /// Writes a line of the scenario's own into the event log, and makes it part of the trace hash.
    public func note(_ text: String) { note(text, node: nil) }

    func note(_ text: String, node: Int?) {
        let line = log.add(text, at: world.now, node: node)
        world.note(text: line)
        if Self.printedLevel != nil { print(line) }
    }

    /// FLOTILLA_LOG=debug prints the event log as it comes, and the nodes' lines below `info` too.
    private static let printedLevel: FlotillaLogger.Level? = getenv("FLOTILLA_LOG").flatMap { text in
        let name = String(cString: text)
        return FlotillaLogger.Level.allCases.first { "\($0)" == name }
    }

    private func logger(_ number: Int, _ process: SimulatedProcess) -> FlotillaLogger {
        FlotillaLogger(level: min(.info, Self.printedLevel ?? .info)) {
            [weak self, weak process] level, message, metadata in
            // A process that was killed unwinds, and what it says of that nobody hears.
            guard let self, let process, process.isAlive else { return }
            let text = message + metadata.map { " \($0)=\($1)" }.joined()
            // What is only printed must not change the history.
            if level >= .info { note(text, node: number) } else { print("node \(number), \(level): \(text)") }
        }
    }

    // MARK: Misuse

    /// Checks the numbers that a fault is about.
    func areNodes(_ numbers: [Int]) -> Bool {
        guard let stranger = numbers.first(where: { workflows[$0] == nil }) else { return true }
        fail(unknown(stranger))
        return false
    }

    func fail(_ message: String) { world.fail(misuse(message)) }

    func misuse(_ message: String) -> SimulationError { world.error(.misuse, message) }

    /// The process of a running node; without one the simulation fails.
    func process(_ number: Int) -> SimulatedProcess? {
        if let life = lives[number] { return life.process }
        fail(whyDown(number))
        return nil
    }

    func unknown(_ number: Int) -> String {
        guard let last = nodes.last else { return "there is no node \(number); there are none yet" }
        return "there is no node \(number); the nodes are 1 to \(last)"
    }

    private func whyDown(_ number: Int) -> String {
        guard workflows[number] != nil else { return unknown(number) }
        guard let failure = failures[number] else { return "node \(number) is down; restart it first" }
        return "node \(number) is down, it ended by itself: \(failure)"
    }
}
