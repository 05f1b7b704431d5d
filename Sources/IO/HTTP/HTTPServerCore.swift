/// What of an HTTP server lives on the loop: the listener and the connections.
///
/// `@unchecked Sendable`: every method is called on the loop, but `work`, which is Sendable itself.
final class HTTPServerCore: LoopResource, @unchecked Sendable {
    struct Work: Sendable {
        var request: HTTPRequest
        var connection: HTTPConnection
    }

    /// Clients beyond the limit that may wait for their "503"; any more are cut off.
    static let refusalsMax = 64

    let loop: EventLoop
    let limits: HTTPServerLimits
    let bodies: HTTPBodyBudget
    /// Parsed requests on their way to `HTTPServer.run()`. A connection has at most one, so the
    /// bound is reached only by clients that left; then 503.
    let work: AsyncStream<Work>
    let allClosed = Latch()
    private let inbox: AsyncStream<Work>.Continuation
    private var listener: TCPListener?
    private var connections: [ObjectIdentifier: HTTPConnection] = [:]
    private var refusals: [ObjectIdentifier: Refusal] = [:]
    private var isStopping = false

    init(loop: EventLoop, limits: HTTPServerLimits) {
        self.loop = loop
        self.limits = limits
        bodies = HTTPBodyBudget(limits.allBodiesBytesMax)
        (work, inbox) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(limits.connectionsMax))
    }

    /// - Returns: the address in force.
    func listen(on address: String) throws(NetworkError) -> String {
        let listener = try TCPListener(on: address, loop: loop) { [weak self] stream in
            if let self { self.accept(stream) } else { stream.close() }
        }
        listener.didClose = { [weak self] in
            self?.listener = nil
            self?.checkClosed()
        }
        self.listener = listener
        loop.register(self)
        return listener.address
    }

    /// Closes the listener and every connection, and takes no more requests. Idempotent.
    func stop() {
        loop.preconditionOnLoop()
        guard !isStopping else { return }
        isStopping = true
        inbox.finish()
        listener?.close()
        for connection in Array(connections.values) { connection.close() }
        for refusal in Array(refusals.values) { refusal.stream.close() }
        checkClosed()
    }

    func loopWillStop() { stop() }

    func handle(_ request: HTTPRequest, of connection: HTTPConnection) {
        switch inbox.yield(Work(request: request, connection: connection)) {
        case .enqueued: break
        case .dropped: connection.fail(HTTPProblem(503, "too many requests wait; try again later"))
        case .terminated: connection.close()
        @unknown default: connection.close()
        }
    }

    func didClose(_ connection: HTTPConnection) {
        connections[ObjectIdentifier(connection)] = nil
        checkClosed()
    }

    fileprivate func didClose(_ refusal: Refusal) {
        refusals[ObjectIdentifier(refusal)] = nil
        checkClosed()
    }

    private func accept(_ stream: TCPStream) {
        if connections.count < limits.connectionsMax {
            let connection = HTTPConnection(stream, limits: limits, server: self)
            connections[ObjectIdentifier(connection)] = connection
        } else if refusals.count < Self.refusalsMax {
            let refusal = Refusal(stream, server: self)
            refusals[ObjectIdentifier(refusal)] = refusal
            refusal.send()
        } else {
            stream.close()
        }
    }

    private func checkClosed() {
        guard isStopping, listener == nil, connections.isEmpty, refusals.isEmpty else { return }
        loop.unregister(self)
        allClosed.open()
    }
}

/// A client beyond the limit: it is told so and let go.
private final class Refusal: TCPStreamDelegate {
    let stream: TCPStream
    private unowned let server: HTTPServerCore

    init(_ stream: TCPStream, server: HTTPServerCore) {
        self.stream = stream
        self.server = server
        stream.delegate = self
    }

    func send() {
        let response = HTTPProblem(503, "this server has as many connections as it takes; try again later").response
        let head = HTTPResponseWriter.head(
            of: response, keepAlive: false, time: stream.loop.wallNow)
        stream.write((head + response.body).span.bytes)
        stream.closeAfterWriting()
    }

    func streamDidOpen() {}
    func streamDidReceive(_ bytes: RawSpan) {}
    func streamDidEnd() {}
    func streamIsWritable() {}
    func streamDidClose(_ error: NetworkError?) { server.didClose(self) }
}
