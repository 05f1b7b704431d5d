import FlotillaIO
public import FlotillaRaft

/// How one direction of one link behaves.
public struct LinkConditions: Sendable {
    /// Drawn for each frame.
    public var delay: ClosedRange<Duration>
    /// The probability that a frame is lost without a sign.
    public var loss: Double
    /// The probability that a frame arrives twice.
    public var duplication: Double
    /// Whether a frame may overtake another; otherwise one connection keeps the order, as TCP does.
    public var reorders: Bool
    /// Bytes per second: how fast a write queue drains.
    public var bandwidth: UInt64
    /// A fast network without faults, but for what is named.
    public init(
        delay: ClosedRange<Duration> = .microseconds(100)...(.milliseconds(2)), loss: Double = 0,
        duplication: Double = 0, reorders: Bool = false, bandwidth: UInt64 = 1_000_000_000
    ) {
        precondition(bandwidth > 0, "a link that carries nothing is a cut one")
        self.delay = delay
        self.loss = loss
        self.duplication = duplication
        self.reorders = reorders
        self.bandwidth = bandwidth
    }
}

/// What lies between the nodes: conditions and cuts per direction, and who listens where.
public final class SimulatedLinks {
    /// What happened to frames, in the whole world.
    public struct Counts: Sendable, Hashable {
        /// Those that a node gave to the network, each once.
        public var sent: UInt64 = 0
        /// Those that reached their node; those that arrive twice count twice.
        public var delivered: UInt64 = 0
        /// By the loss rate or a cut.
        public var lost: UInt64 = 0
        /// Those that the network sent twice.
        public var duplicated: UInt64 = 0
    }

    struct Direction: Hashable {
        var from: NodeID
        var to: NodeID
    }
    struct Endpoint: Hashable {
        var node: NodeID
        var port: UInt16
    }

    /// A connection's `send` refuses while more than this many bytes wait, and reports when half of it is left.
    public var writeQueueLimit = 4 << 20
    /// How long an attempt to connect waits for an answer that does not come.
    public var connectTimeout: Duration = .seconds(1)
    /// For every direction that has none of its own.
    public var conditions = LinkConditions()
    /// What happened to frames so far.
    public internal(set) var counts = Counts()

    /// Its world, which owns it.
    unowned let world: SimulationWorld
    private var specialConditions: [Direction: LinkConditions] = [:]
    private var cuts: Set<Direction> = []
    var listeners: [Endpoint: SimulatedListener] = [:]
    private var lastConnection: UInt64 = 0
    private var lastPort: UInt16 = 49_151

    init(world: SimulationWorld) { self.world = world }

    // MARK: Faults

    /// Sets one direction apart from the rest; nil takes that back.
    public func setConditions(_ conditions: LinkConditions?, from: NodeID, to: NodeID) {
        specialConditions[Direction(from: from, to: to)] = conditions
    }

    /// Frames from one node do not reach the other any more, not even those under way. The way back stays open.
    /// Connections stay: what was lost is lost, and neither side is told.
    public func cut(from: NodeID, to: NodeID) {
        cuts.insert(Direction(from: from, to: to))
    }

    /// Takes back a `cut` of that direction.
    public func heal(from: NodeID, to: NodeID) {
        cuts.remove(Direction(from: from, to: to))
    }

    /// Cuts both directions between nodes of different groups, and heals those within a group.
    public func partition(_ groups: [[NodeID]]) {
        for (number, group) in groups.enumerated() {
            for (otherNumber, otherGroup) in groups.enumerated() {
                for from in group {
                    for to in otherGroup where number == otherNumber { heal(from: from, to: to) }
                    for to in otherGroup where number != otherNumber { cut(from: from, to: to) }
                }
            }
        }
    }

    /// Takes back every cut. Conditions stay as they are.
    public func healAll() { cuts = [] }

    /// Closes the connections between two nodes; both sides hear `connectionLost`.
    public func reset(_ a: NodeID, _ b: NodeID) {
        world.preconditionOnThread()
        guard let process = world.processes[a] else { return }
        for connection in Self.inOrder(process.connections) where connection.remoteNode == b {
            connection.peer?.lose("reset by the link")
            connection.lose("reset by the link")
        }
    }

    // MARK: For connections

    func isCut(from: NodeID, to: NodeID) -> Bool {
        cuts.contains(Direction(from: from, to: to))
    }

    func conditions(from: NodeID, to: NodeID) -> LinkConditions {
        specialConditions[Direction(from: from, to: to)] ?? conditions
    }

    func delay(from: NodeID, to: NodeID) -> Duration {
        world.random(in: conditions(from: from, to: to).delay)
    }

    func nextConnectionNumber() -> UInt64 {
        lastConnection += 1
        return lastConnection
    }

    /// A port nobody listens on.
    func freePort(on node: NodeID) -> UInt16? {
        for _ in 0..<16_384 {
            lastPort = lastPort == .max ? 49_152 : lastPort + 1
            if listeners[Endpoint(node: node, port: lastPort)] == nil { return lastPort }
        }
        return nil
    }

    func processEnded(_ process: SimulatedProcess, resetsPeers: Bool) {
        let ended = listeners.filter { $0.value.process === process }
        for endpoint in ended.keys { listeners[endpoint] = nil }
        for connection in Self.inOrder(process.connections) {
            connection.processEnded(resetsPeer: resetsPeers)
        }
    }

    func forget() { listeners = [:] }

    private static func inOrder(_ connections: [UInt64: SimulatedConnection])
        -> [SimulatedConnection]
    {
        connections.sorted { $0.key < $1.key }.map(\.value)
    }

    /// Reads "sim-3:7000".
    static func parse(_ address: String) throws(NetworkError) -> Endpoint {
        let parts = address.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].hasPrefix("sim-"),
            let node = UInt64(parts[0].dropFirst(4)),
            let port = UInt16(parts[1])
        else {
            throw NetworkError(
                .invalidAddress, "\(address) is no simulated address, such as sim-1:7000")
        }
        return Endpoint(node: NodeID(node), port: port)
    }
}
