package import FlotillaIO
import FlotillaRaft

/// Takes the connections of binary clients, and hands on what they ask. Lives on its loop.
package actor ClientServer {
    /// Connections; more are refused.
    static let connectionsMax = 1_024
    /// Requests of one connection that are not answered yet; more are refused.
    static let openMax = 16_384
    /// How long a client that is refused has to read why.
    static let refusalPause: Duration = .seconds(1)

    package typealias Handler = @Sendable (ClientCall) -> Void

    package nonisolated let unownedExecutor: UnownedSerialExecutor
    nonisolated let loop: any Loop
    private let identity: ClientHello
    private let handler: Handler
    private var listener: (any NetworkListener)?
    private var clients: [ObjectIdentifier: ServedClient] = [:]

    private init(loop: any Loop, identity: ClientHello, handler: @escaping Handler) {
        self.loop = loop
        unownedExecutor = loop.asUnownedSerialExecutor()
        self.identity = identity
        self.handler = handler
    }

    /// Listens.
    /// - Parameters:
    ///   - address: "host:port"; port 0 takes a free one.
    ///   - handler: called on the loop for each request; must not block.
    /// - Returns: the server, and the address in force.
    package static func start(
        on address: String, loop: any Loop, network: any Network, node: NodeID, cluster: UInt64,
        handler: @escaping Handler
    ) async throws(NetworkError) -> (server: ClientServer, address: String) {
        let server = ClientServer(
            loop: loop, identity: ClientHello(node: node.rawValue, cluster: cluster), handler: handler)
        return (server, try await server.listen(on: address, network))
    }

    private func listen(on address: String, _ network: any Network) throws(NetworkError) -> String {
        let listener = try network.listen(on: address, loop: loop) { [weak self] connection in
            guard let self else { return connection.close() }
            self.assumeIsolated { $0.accept(connection) }
        }
        self.listener = listener
        return listener.address
    }

    /// Closes the listener and all connections. What is answered later is dropped.
    package func stop() {
        listener?.close()
        listener = nil
        for client in clients.values { client.close() }
    }

    private func accept(_ connection: any FrameConnection) {
        var identity = identity
        if listener == nil {
            identity.refusal = "this node stops; ask another one"
        } else if clients.count >= Self.connectionsMax {
            identity.refusal = "\(Self.connectionsMax) clients are connected to this node already; ask another one"
        }
        let client = ServedClient(connection, loop: loop, identity: identity, handler: handler) { [weak self] client in
            self?.assumeIsolated { $0.clients[ObjectIdentifier(client)] = nil }
        }
        clients[ObjectIdentifier(client)] = client
        connection.delegate = client
    }
}

/// Something that a client asks, and the way to answer it.
package struct ClientCall: Sendable {
    package let name: String
    package let body: [UInt8]
    /// To be called once, from any thread.
    package let answer: @Sendable (Result<[UInt8], any Error>) -> Void
}

/// One connection of a client.
///
/// `@unchecked Sendable`: `outbox` is a lock; all else is touched only on the loop, where the connection calls.
private final class ServedClient: FrameConnectionDelegate, @unchecked Sendable {
    private let connection: any FrameConnection
    private let loop: any Loop
    private let identity: ClientHello
    private let handler: ClientServer.Handler
    private let didClose: @Sendable (ServedClient) -> Void
    private enum Phase {
        /// Can transition to: ready, refused; or it closes.
        case greeting
        case ready
        /// It was told why, and is not heard. (A connection that is closed at once would lose what was sent last.)
        case refused
    }

    private var phase = Phase.greeting
    private var open = 0
    /// A frame that the connection did not take.
    private var unsent: [UInt8]?
    private let outbox = Lock<[ClientAnswer]>([])

    init(
        _ connection: any FrameConnection, loop: any Loop, identity: ClientHello,
        handler: @escaping ClientServer.Handler, didClose: @escaping @Sendable (ServedClient) -> Void
    ) {
        self.connection = connection
        self.loop = loop
        self.identity = identity
        self.handler = handler
        self.didClose = didClose
    }

    func close() { connection.close() }

    // MARK: FrameConnectionDelegate

    func connectionDidOpen(_ connection: any FrameConnection) {}

    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
        let frame: ClientFrame
        do throws(WireError) {
            frame = try ClientFrame(decoding: payload)
        } catch {
            return connection.close()
        }
        if case .greeting = phase { greet(frame.hello) }
        guard case .ready = phase else { return }
        if frame.isEmpty { send(ClientFrame().encoded) }
        for request in frame.requests { take(request) }
    }

    func connectionIsWritable(_ connection: any FrameConnection) { flush() }

    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) { didClose(self) }

    // MARK: Requests

    private func greet(_ hello: ClientHello?) {
        guard let hello else { return connection.close() }
        var identity = identity
        if identity.refusal.isEmpty { identity.refusal = hello.objection ?? "" }
        send(ClientFrame(hello: identity).encoded)
        guard !identity.refusal.isEmpty else {
            phase = .ready
            return
        }
        phase = .refused
        _ = loop.schedule(at: loop.now.advanced(by: ClientServer.refusalPause)) { [weak self] in self?.close() }
    }

    private func take(_ request: ClientRequest) {
        let number = request.number
        open += 1
        // It goes on asking without reading the answers: they are not kept for it.
        guard open <= 2 * ClientServer.openMax else { return connection.close() }
        guard open <= ClientServer.openMax else {
            return answer(
                number,
                .failed(
                    RemoteFailure(
                        WorkflowError(
                            .overloaded, "\(ClientServer.openMax) requests of this client wait for their answers"))))
        }
        handler(
            ClientCall(name: request.name, body: request.body) { [weak self] result in
                switch result {
                case .success(let bytes) where bytes.count <= ClientFrame.bodyBytesMax:
                    self?.answer(number, .value(bytes))
                case .success(let bytes):
                    self?.answer(
                        number,
                        .failed(
                            RemoteFailure(
                                WorkflowError(
                                    .resultTooLarge,
                                    "the answer takes \(bytes.count) bytes, of \(ClientFrame.bodyBytesMax) at most"))))
                case .failure(let error): self?.answer(number, .failed(RemoteFailure(error)))
                }
            })
    }

    // MARK: Answers

    /// Any thread. All that come before the loop gets to it travel in one frame.
    private func answer(_ number: UInt64, _ content: ClientAnswer.Content) {
        let isFirst = outbox.withLock { outbox in
            outbox.append(ClientAnswer(number: number, content: content))
            return outbox.count == 1
        }
        if isFirst { loop.execute { self.flush() } }
    }

    private func flush() {
        if let frame = unsent {
            guard connection.send(frame) else { return }
            unsent = nil
        }
        var answers = outbox.withLock { outbox in
            var taken: [ClientAnswer] = []
            swap(&taken, &outbox)
            return taken
        }[...]
        open -= answers.count
        while !answers.isEmpty, unsent == nil {
            var frame = ClientFrame()
            var bytes = 0
            while let next = answers.first, bytes < ClientFrame.target {
                bytes += next.content.size
                frame.answers.append(next)
                answers.removeFirst()
            }
            send(frame.encoded)
        }
        guard !answers.isEmpty else { return }
        // They go before those that came meanwhile, when the connection takes more.
        open += answers.count
        outbox.withLock { $0.insert(contentsOf: answers, at: 0) }
    }

    private func send(_ frame: [UInt8]) {
        // A ping finds other frames on their way, and is as good as answered.
        guard unsent == nil else { return }
        if !connection.send(frame) { unsent = frame }
    }
}

extension ClientAnswer.Content {
    var size: Int {
        switch self {
        case .value(let bytes): bytes.count
        case .failed(let failure): failure.message.utf8.count
        }
    }
}
