/// Frames over TCP: the network of a real node. Its loops must be `EventLoop`s.
///
/// A damaged frame closes the connection that carried it, with the named error, and is counted; the
/// others go on.
public final class TCPNetwork: Network {
    /// A connection on which no byte arrives for this long is closed with `idle`: half-open
    /// connections end here. Peers send heartbeats more often.
    public static let idleTimeout: Duration = .seconds(10)

    private let counted = Lock(NetworkMetrics())
    private let idleTimeout: Duration

    /// - Parameter idleTimeout: for tests.
    public init(idleTimeout: Duration = TCPNetwork.idleTimeout) { self.idleTimeout = idleTimeout }

    /// Any thread.
    public var metrics: NetworkMetrics { counted.withLock { $0 } }

    public func listen(
        on address: String, loop: any Loop,
        accept: @escaping @Sendable (any FrameConnection) -> Void
    ) throws(NetworkError) -> any NetworkListener {
        try TCPListener(on: address, loop: eventLoop(loop)) { [counted, idleTimeout] stream in
            let connection = TCPFrameConnection(
                loop: stream.loop, metrics: counted, idleTimeout: idleTimeout)
            connection.attach(stream)
            connection.didEstablish()
            accept(connection)
        }
    }

    public func connect(
        to address: String, loop: any Loop, delegate: any FrameConnectionDelegate
    ) -> any FrameConnection {
        let loop = eventLoop(loop)
        let connection = TCPFrameConnection(loop: loop, metrics: counted, idleTimeout: idleTimeout)
        connection.delegate = delegate
        connection.attach(TCPStream.connect(to: address, loop: loop, delegate: connection))
        return connection
    }

    private func eventLoop(_ loop: any Loop) -> EventLoop {
        guard let loop = loop as? EventLoop else {
            preconditionFailure("TCPNetwork works on an EventLoop, not on \(type(of: loop))")
        }
        return loop
    }
}

/// Frames over one stream.
///
/// `@unchecked Sendable`: every method begins on the loop, which the stream's own methods and
/// callbacks ensure.
final class TCPFrameConnection: FrameConnection, TCPStreamDelegate, @unchecked Sendable {
    private let loop: EventLoop
    private let metrics: Lock<NetworkMetrics>
    private let idleTimeout: Duration
    private var stream: TCPStream?
    private var decoder = FrameDecoder()
    private var idleTimer: DeadlineTimer?
    private var isEstablished = false
    private var isClosed = false

    /// Kept until the last call.
    var delegate: (any FrameConnectionDelegate)?

    init(loop: EventLoop, metrics: Lock<NetworkMetrics>, idleTimeout: Duration) {
        self.loop = loop
        self.metrics = metrics
        self.idleTimeout = idleTimeout
    }

    func attach(_ stream: TCPStream) {
        self.stream = stream
        stream.delegate = self
    }

    var remoteAddress: String { stream?.remoteAddress ?? "unknown" }

    func send(_ payload: [UInt8]) -> Bool {
        loop.preconditionOnLoop()
        guard let stream, isEstablished, !isClosed, !stream.isWriteQueueFull else { return false }
        stream.write(FrameCodec.header(for: payload).span.bytes)
        stream.write(payload.span.bytes)
        metrics.withLock { metrics in
            metrics.framesOut += 1
            metrics.bytesOut += UInt64(FrameCodec.headerBytes + payload.count)
        }
        return true
    }

    func flush() {
        loop.preconditionOnLoop()
        if isEstablished, !isClosed { stream?.flush() }
    }

    func close() { close(error: nil) }

    private func close(error: NetworkError?) {
        loop.preconditionOnLoop()
        guard !isClosed else { return }
        isClosed = true
        idleTimer?.clear()
        if let error { metrics.withLock { $0.count(error) } }
        stream?.close(error: error)
    }

    // MARK: TCPStreamDelegate

    /// An accepted stream is so from the start.
    func didEstablish() {
        isEstablished = true
        metrics.withLock { $0.connectionsOpened += 1 }
        let timer = DeadlineTimer(loop: loop) { [weak self] in self?.didFallSilent() }
        timer.set(after: idleTimeout)
        idleTimer = timer
    }

    func streamDidOpen() {
        didEstablish()
        delegate?.connectionDidOpen(self)
    }

    func streamDidReceive(_ bytes: RawSpan) {
        guard !isClosed else { return }
        idleTimer?.set(after: idleTimeout)
        metrics.withLock { $0.bytesIn += UInt64(bytes.byteCount) }
        var position = 0
        do throws(NetworkError) {
            // The delegate may close the connection between two frames.
            while !isClosed, let payload = try decoder.next(in: bytes, at: &position) {
                metrics.withLock { $0.framesIn += 1 }
                delegate?.connection(self, didReceive: payload)
            }
        } catch {
            close(error: NetworkError(error.code, "\(remoteAddress): \(error.message)"))
        }
    }

    func streamDidEnd() {
        do throws(NetworkError) {
            try decoder.finish()
            close(error: nil)
        } catch {
            close(error: NetworkError(error.code, "\(remoteAddress): \(error.message)"))
        }
    }

    func streamIsWritable() {
        if !isClosed { delegate?.connectionIsWritable(self) }
    }

    func streamDidClose(_ error: NetworkError?) {
        isClosed = true
        idleTimer?.clear()
        if isEstablished { metrics.withLock { $0.connectionsClosed += 1 } }
        let delegate = self.delegate
        self.delegate = nil
        delegate?.connectionDidClose(self, error: error)
        stream = nil
    }

    private func didFallSilent() {
        close(
            error: NetworkError(.idle, "\(remoteAddress): nothing was received for \(idleTimeout)"))
    }
}
