import FlotillaIO
public import FlotillaRaft

/// One life of a node's process: what the node is given to live in. Made by `SimulationWorld.start`.
///
/// **After its end** (a crash or a clean stop) a process is cut off, not frozen: its jobs and timers go on, so
/// that its tasks can be cancelled and unwind, but nothing they do is seen by anybody. Its connections close with
/// `connectionLost`, new ones fail, and every call on its files throws EIO, also while a new process of the same node
/// runs on the same disk. Frozen jobs would leave tasks suspended for ever, and with them all who await them.
/// Whoever ends a process cancels what ran in it and awaits that.
public final class SimulatedProcess: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which the world's entry points check.
    /// Whose process it is.
    public let node: NodeID
    /// Counts the node's starts, from 1.
    public let incarnation: UInt64
    let world: SimulationWorld
    /// Whether it has neither crashed nor stopped.
    public private(set) var isAlive = true
    /// Called once, at the process's end, in the middle of whatever ended it: only cancel and take notes.
    public var didEnd: (@Sendable () -> Void)?

    /// Its first loop.
    public private(set) lazy var loop = makeLoop()
    /// Its way to other nodes.
    public private(set) lazy var network = SimulatedNetwork(process: self)
    /// Its way to the node's disk.
    public private(set) lazy var fileSystem = SimulatedFileSystem(process: self)
    private(set) var loops: [SimulatedLoop] = []

    /// By the order of their making, which is the order in which a crash closes them.
    var connections: [UInt64: SimulatedConnection] = [:]
    /// Calls that workers have not completed.
    var pendingWork = 0

    init(node: NodeID, incarnation: UInt64, world: SimulationWorld) {
        self.node = node
        self.incarnation = incarnation
        self.world = world
        // Made now, so that it can be paused before anybody asks for it.
        _ = loop
    }

    /// How a process ends.
    public enum End: Sendable {
        /// The process is killed, or stops by itself. What it wrote is in the system's cache and survives; its
        /// connections are reset at once.
        case killed
        /// The machine goes dark. What was not synced meets its fate; peers hear nothing until they send to a
        /// process that runs there again.
        case powerLost(UnsyncedFate)
    }

    /// Another loop of this process; `loop` is the first.
    public func makeLoop() -> SimulatedLoop {
        world.preconditionOnThread()
        let loop = SimulatedLoop(process: self)
        loops.append(loop)
        return loop
    }

    /// A thread for blocking calls.
    public func makeWorker() -> SimulatedWorker {
        world.preconditionOnThread()
        return SimulatedWorker(process: self)
    }

    /// Stops all loops where they are, as a machine under memory pressure does; the rest of the world goes on.
    /// Tasks that run on no loop (user code) go on too.
    public func pause() {
        for loop in loops { world.setPaused(true, loop) }
    }

    /// Lets all loops go on where `pause` stopped them.
    public func resume() {
        for loop in loops { world.setPaused(false, loop) }
    }

    /// Ends the process. Idempotent.
    public func end(_ end: End) {
        world.preconditionOnThread()
        guard isAlive else { return }
        isAlive = false
        world.note(.processEnded, node)
        world.processes[node] = nil
        resume()
        let resetsPeers: Bool
        switch end {
        case .killed:
            resetsPeers = true
            world.disk(of: node).processEnded()
        case .powerLost(let fate):
            resetsPeers = false
            world.disk(of: node).powerLost(fate)
        }
        world.links.processEnded(self, resetsPeers: resetsPeers)
        didEnd?()
        didEnd = nil
    }

    func forget() {
        didEnd = nil
        for connection in connections.values { connection.forget() }
        connections = [:]
        for loop in loops { loop.forgetItems() }
    }
}

extension SimulationWorld {
    /// Boots a node's process, on the disk that its previous life left behind.
    public func start(_ node: NodeID) -> SimulatedProcess {
        preconditionOnThread()
        precondition(processes[node] == nil, "\(node) runs already; end its process first")
        note(.processStarted, node)
        let earlier = processHistory.count { $0.node == node }
        let process = SimulatedProcess(node: node, incarnation: UInt64(earlier) + 1, world: self)
        processes[node] = process
        processHistory.append(process)
        return process
    }

    /// The process that lives on a node now.
    public func process(of node: NodeID) -> SimulatedProcess? { processes[node] }

    /// A node's disk, which outlives its processes.
    public func disk(of node: NodeID) -> SimulatedDisk {
        preconditionOnThread()
        if let disk = disks[node] { return disk }
        let disk = SimulatedDisk(node: node, world: self)
        disks[node] = disk
        return disk
    }
}
