import FlotillaIO
import FlotillaRaft

/// One end of a simulated connection.
///
/// A frame leaves when the write queue has drained up to it, travels for a random delay and is lost if the direction
/// is cut at either end of that time. A frame that finds the other end gone is answered by a reset, if a process runs
/// there: that is how the peer of a machine that went dark learns of it.
final class SimulatedConnection: FrameConnection, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only; the public calls check that they are on its loop.
    enum State {
        /// Can transition to: open, closed.
        case connecting
        /// Can transition to: closed.
        case open
        case closed
    }

    let remoteAddress: String
    private(set) var remoteNode: NodeID?
    var delegate: (any FrameConnectionDelegate)?
    private(set) var state: State
    let loop: SimulatedLoop
    private unowned let process: SimulatedProcess
    private var world: SimulationWorld { process.world }
    private var links: SimulatedLinks { process.world.links }
    private let number: UInt64
    /// The other end, from the moment the listener has taken the connection until this end is closed.
    private(set) var peer: SimulatedConnection?

    /// Frames that wait for the connection to open.
    private var early: [[UInt8]] = []
    private var queuedBytes = 0
    private var wantsWritable = false
    /// When the last queued frame has left.
    private var lastDeparture = MonotonicTime(nanoseconds: 0)
    /// Nothing sent from now on arrives before this, unless the link reorders.
    private var lastArrival = MonotonicTime(nanoseconds: 0)
    /// Nothing at all arrives before the other end has opened.
    private var earliestArrival = MonotonicTime(nanoseconds: 0)

    /// An outgoing end, still to be connected.
    init(
        process: SimulatedProcess, loop: SimulatedLoop, remoteAddress: String,
        delegate: any FrameConnectionDelegate
    ) {
        self.process = process
        self.loop = loop
        self.remoteAddress = remoteAddress
        self.delegate = delegate
        state = .connecting
        number = process.world.links.nextConnectionNumber()
        process.connections[number] = self
    }

    /// An accepted end.
    private init(acceptedBy listener: SimulatedListener, from peer: SimulatedConnection) {
        process = listener.process
        loop = listener.loop
        number = listener.process.world.links.nextConnectionNumber()
        remoteNode = peer.loop.node
        remoteAddress = "sim-\(peer.loop.node.rawValue):\(40_000 + number % 9_000)"
        self.peer = peer
        state = .open
        process.connections[number] = self
    }

    // MARK: FrameConnection

    func send(_ payload: [UInt8]) -> Bool {
        loop.preconditionOnLoop()
        guard state != .closed else { return false }
        guard queuedBytes <= links.writeQueueLimit else {
            wantsWritable = true
            return false
        }
        queuedBytes += payload.count
        if state == .connecting {
            early.append(payload)
        } else {
            transmit(payload)
        }
        return true
    }

    func close() {
        loop.preconditionOnLoop()
        guard state != .closed else { return }
        tellPeer(nil)
        becomeClosed(nil)
    }

    // MARK: Connecting

    func startConnecting() {
        let limit = links.connectTimeout
        guard process.isAlive else {
            return becomeClosed(NetworkError(.shutDown, "the process of \(process.node) has ended"))
        }
        let endpoint: SimulatedLinks.Endpoint
        do {
            endpoint = try SimulatedLinks.parse(remoteAddress)
        } catch {
            return becomeClosed(error)
        }
        remoteNode = endpoint.node
        world.after(limit) { [self] in fail("no answer from \(remoteAddress) within \(limit)") }
        world.after(links.delay(from: loop.node, to: endpoint.node)) { [self] in knock(at: endpoint)
        }
    }

    /// The request to connect has reached the other machine, or not.
    private func knock(at endpoint: SimulatedLinks.Endpoint) {
        // No machine and no way there look the same from here: silence, which the time limit ends.
        guard state == .connecting, !links.isCut(from: loop.node, to: endpoint.node),
            world.processes[endpoint.node] != nil
        else { return }
        let wayBack = links.delay(from: endpoint.node, to: loop.node)
        guard let listener = links.listeners[endpoint] else {
            return world.after(wayBack) { [self] in
                guard !links.isCut(from: endpoint.node, to: loop.node) else { return }
                fail("\(remoteAddress) refuses: nothing listens there")
            }
        }
        listener.loop.append(
            .work { [self] in
                guard listener.isOpen, listener.process.isAlive else { return }
                let other = SimulatedConnection(acceptedBy: listener, from: self)
                let answered = world.now.advanced(by: wayBack)
                other.earliestArrival = answered
                listener.accept(other)
                precondition(
                    other.state == .closed || other.delegate != nil,
                    "the listener on \(listener.address) accepted a connection without giving it a delegate"
                )
                world.at(answered) { [self] in opened(by: other) }
            })
    }

    private func opened(by other: SimulatedConnection) {
        guard !links.isCut(from: other.loop.node, to: loop.node) else { return }
        // Given up meanwhile: the other end stands alone, and a reset tells it.
        guard state == .connecting else { return other.hearLater(.connectionLost("reset by peer")) }
        state = .open
        peer = other
        onLoop { [self] in
            guard state == .open else { return }
            delegate?.connectionDidOpen(self)
        }
        for payload in early { transmit(payload) }
        early = []
    }

    private func fail(_ message: String) {
        guard state == .connecting else { return }
        becomeClosed(NetworkError(.connectFailed, message))
    }

    // MARK: Frames

    private func transmit(_ payload: [UInt8]) {
        guard let remoteNode, let peer else { return }
        let conditions = links.conditions(from: loop.node, to: remoteNode)
        let transmission = UInt64(payload.count) * 1_000_000_000 / conditions.bandwidth
        lastDeparture = MonotonicTime(
            nanoseconds: max(world.now, lastDeparture).nanoseconds + transmission)
        world.at(lastDeparture) { [self] in departed(payload.count) }
        links.counts.sent += 1
        guard !links.isCut(from: loop.node, to: remoteNode), !world.chance(conditions.loss) else {
            links.counts.lost += 1
            return
        }
        arrive(payload, at: peer, conditions)
        if world.chance(conditions.duplication) {
            links.counts.duplicated += 1
            arrive(payload, at: peer, conditions)
        }
    }

    private func departed(_ count: Int) {
        queuedBytes -= count
        guard wantsWritable, state == .open, queuedBytes <= links.writeQueueLimit / 2 else {
            return
        }
        wantsWritable = false
        onLoop { [self] in
            guard state == .open else { return }
            delegate?.connectionIsWritable(self)
        }
    }

    private func arrive(
        _ payload: [UInt8], at peer: SimulatedConnection, _ conditions: LinkConditions
    ) {
        var arrival = max(
            lastDeparture.advanced(by: world.random(in: conditions.delay)), earliestArrival.next)
        if !conditions.reorders { arrival = max(arrival, lastArrival.next) }
        lastArrival = max(lastArrival, arrival)
        world.at(arrival) { [self] in
            guard !links.isCut(from: loop.node, to: peer.loop.node) else {
                links.counts.lost += 1
                return
            }
            guard peer.state == .open else { return answerWithReset(peer.loop.node) }
            peer.onLoop {
                guard peer.state == .open else { return }
                peer.links.counts.delivered += 1
                peer.delegate?.connection(peer, didReceive: payload)
            }
        }
    }

    private func answerWithReset(_ node: NodeID) {
        guard world.processes[node] != nil else { return }
        hearLater(.connectionLost("reset by peer: it does not know this connection"))
    }

    // MARK: The end

    /// Tells the other end, behind everything that is under way.
    private func tellPeer(_ error: NetworkError?) {
        guard let peer else { return }
        let arrival = world.now.advanced(by: links.delay(from: loop.node, to: peer.loop.node))
        world.at(max(arrival, lastArrival.next, earliestArrival.next)) { [self] in
            guard !links.isCut(from: loop.node, to: peer.loop.node) else { return }
            // In turn: frames that came before may still wait for the loop.
            peer.onLoop { peer.becomeClosed(error) }
        }
    }

    /// News from the other machine reaches this end after a delay, if the way is open then.
    private func hearLater(_ error: NetworkError) {
        guard let remoteNode else { return }
        world.after(links.delay(from: remoteNode, to: loop.node)) { [self] in
            guard !links.isCut(from: remoteNode, to: loop.node) else { return }
            onLoop { [self] in becomeClosed(error) }
        }
    }

    func lose(_ message: String) {
        becomeClosed(.connectionLost(message))
    }

    func processEnded(resetsPeer: Bool) {
        if resetsPeer { tellPeer(.connectionLost("reset by peer: its process ended")) }
        becomeClosed(.connectionLost("the process of \(loop.node) has ended"))
    }

    private func becomeClosed(_ error: NetworkError?) {
        guard state != .closed else { return }
        state = .closed
        process.connections[number] = nil
        early = []
        peer = nil
        onLoop { [self] in
            delegate?.connectionDidClose(self, error: error)
            delegate = nil
        }
    }

    private func onLoop(_ work: @escaping @Sendable () -> Void) {
        loop.append(.work(work))
    }

    func forget() {
        delegate = nil
        peer = nil
    }
}

extension NetworkError {
    fileprivate static func connectionLost(_ message: String) -> NetworkError {
        NetworkError(.connectionLost, message)
    }
}

extension MonotonicTime {
    fileprivate var next: MonotonicTime { MonotonicTime(nanoseconds: nanoseconds + 1) }
}
