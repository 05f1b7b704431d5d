public import FlotillaIO
import FlotillaRaft

/// The network as one process sees it. Addresses are "sim-N:port" for node N.
public final class SimulatedNetwork: Network, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which the loop's preconditions check.
    /// Outlives this: the world keeps every process until the run is over.
    private unowned let process: SimulatedProcess

    init(process: SimulatedProcess) { self.process = process }

    public func listen(
        on address: String, loop: any Loop,
        accept: @escaping @Sendable (any FrameConnection) -> Void
    ) throws(NetworkError) -> any NetworkListener {
        loop.preconditionOnLoop()
        guard process.isAlive else {
            throw NetworkError(.shutDown, "the process of \(process.node) has ended")
        }
        var endpoint = try SimulatedLinks.parse(address)
        guard endpoint.node == process.node else {
            throw NetworkError(.invalidAddress, "\(process.node) cannot listen on \(address)")
        }
        let links = process.world.links
        if endpoint.port == 0 {
            guard let port = links.freePort(on: endpoint.node) else {
                throw NetworkError(.addressInUse, "\(process.node) has no free port")
            }
            endpoint.port = port
        }
        guard links.listeners[endpoint] == nil else {
            throw NetworkError(.addressInUse, "something listens on \(address) already")
        }
        let listener = SimulatedListener(
            endpoint: endpoint, process: process, loop: simulatedLoop(loop), accept: accept)
        links.listeners[endpoint] = listener
        return listener
    }

    public func connect(
        to address: String, loop: any Loop, delegate: any FrameConnectionDelegate
    ) -> any FrameConnection {
        loop.preconditionOnLoop()
        let connection = SimulatedConnection(
            process: process, loop: simulatedLoop(loop), remoteAddress: address, delegate: delegate)
        connection.startConnecting()
        return connection
    }

    private func simulatedLoop(_ loop: any Loop) -> SimulatedLoop {
        guard let simulated = loop as? SimulatedLoop, simulated.process === process else {
            preconditionFailure(
                "the network of \(process.node) was given a loop that is not this process's")
        }
        return simulated
    }
}

final class SimulatedListener: NetworkListener, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which `close` checks and the links are confined to.
    let endpoint: SimulatedLinks.Endpoint
    unowned let process: SimulatedProcess
    let loop: SimulatedLoop
    let accept: @Sendable (any FrameConnection) -> Void

    init(
        endpoint: SimulatedLinks.Endpoint, process: SimulatedProcess, loop: SimulatedLoop,
        accept: @escaping @Sendable (any FrameConnection) -> Void
    ) {
        self.endpoint = endpoint
        self.process = process
        self.loop = loop
        self.accept = accept
    }

    var address: String { "sim-\(endpoint.node.rawValue):\(endpoint.port)" }
    var isOpen: Bool { process.world.links.listeners[endpoint] === self }

    func close() {
        loop.preconditionOnLoop()
        if isOpen { process.world.links.listeners[endpoint] = nil }
    }
}
