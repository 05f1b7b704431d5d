/// One client's connection: reads a request, has it handled, writes the answer, and only then looks
/// at the next, so that a client that sends many ahead is slowed down by its own socket.
///
/// `@unchecked Sendable`: confined to the loop, which the stream's methods and callbacks check.
final class HTTPConnection: TCPStreamDelegate, @unchecked Sendable {
    private enum State {
        /// Can transition to: handling, finishing, closed.
        case reading
        /// Can transition to: waitingToWrite, reading, finishing, closed.
        case handling(keepAlive: Bool, isHead: Bool)
        /// Answers pile up because the client does not read them. Can transition to: reading,
        /// closed.
        case waitingToWrite
        /// The last answer is on its way. Can transition to: closed.
        case finishing
        case closed
    }

    private let stream: TCPStream
    private let limits: HTTPServerLimits
    private unowned let server: HTTPServerCore
    private let parser: HTTPRequestParser
    private var state = State.reading
    private var timedPhase: HTTPRequestParser.Phase?
    /// Came behind the request that is being handled; at most one read's worth.
    private var rest: [UInt8] = []
    private var timer: DeadlineTimer?

    init(_ stream: TCPStream, limits: HTTPServerLimits, server: HTTPServerCore) {
        self.stream = stream
        self.limits = limits
        self.server = server
        parser = HTTPRequestParser(bodyBytesMax: limits.bodyBytesMax, bodies: server.bodies)
        timer = DeadlineTimer(loop: stream.loop) { [weak self] in self?.didTimeOut() }
        stream.delegate = self
        // A client that connects and says nothing holds its place no longer than one that begins
        // and stops.
        timer?.set(after: limits.headerTimeout)
        timedPhase = .head
    }

    func close() { stream.close() }

    /// Answers the request that is being handled. On the loop.
    func respond(_ response: HTTPResponse) {
        // Also where the client has left: whoever handled it had the body until now.
        parser.releaseBody()
        guard case .handling(let keepAlive, let isHead) = state else { return }
        write(HTTPResponseWriter.checked(response), keepAlive: keepAlive, isHead: isHead)
        guard keepAlive else { return finish() }
        goOn()
    }

    /// Closes, since the request that is being handled gets no answer. On the loop.
    func abandon() {
        parser.releaseBody()
        close()
    }

    private func write(_ response: HTTPResponse, keepAlive: Bool, isHead: Bool) {
        let head = HTTPResponseWriter.head(
            of: response, keepAlive: keepAlive, time: stream.loop.wallNow)
        stream.write(head.span.bytes)
        if !isHead, HTTPResponseWriter.allowsBody(response.status) {
            stream.write(response.body.span.bytes)
        }
    }

    private func goOn() {
        guard !stream.isWriteQueueFull else {
            state = .waitingToWrite
            timer?.set(after: limits.idleTimeout)
            return
        }
        state = .reading
        timedPhase = nil
        let waiting = rest
        rest = []
        read(waiting.span.bytes)
        if case .reading = state { stream.resumeReading() }
    }

    private func read(_ bytes: RawSpan) {
        var position = 0
        while true {
            switch parser.feed(bytes, at: &position) {
            case .needsMore: return setTimer()
            case .awaitsContinue:
                stream.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8).span.bytes)
            case .request(let request, let keepAlive):
                state = .handling(keepAlive: keepAlive, isHead: request.method == "HEAD")
                timer?.clear()
                stream.pauseReading()
                rest = bytes.extracting(position...).withUnsafeBytes { Array($0) }
                return server.handle(request, of: self)
            case .failure(let problem): return fail(problem)
            }
        }
    }

    /// The time allowed runs from the beginning of each phase: a client that sends a byte now and
    /// then gains nothing.
    private func setTimer() {
        guard timedPhase != parser.phase else { return }
        // A new connection has its first head's time already.
        if timedPhase == .head, parser.phase == .betweenRequests { return }
        timedPhase = parser.phase
        switch parser.phase {
        case .betweenRequests: timer?.set(after: limits.idleTimeout)
        case .head: timer?.set(after: limits.headerTimeout)
        case .body: timer?.set(after: limits.bodyTimeout)
        }
    }

    private func didTimeOut() {
        switch (state, parser.phase) {
        case (.reading, .head), (.reading, .body):
            fail(HTTPProblem(408, "the request took too long to arrive"))
        case (.reading, .betweenRequests): finish()
        case (.waitingToWrite, _): close()
        case (.handling, _), (.finishing, _), (.closed, _): break
        }
    }

    /// Answers in the server's own name and closes.
    func fail(_ problem: HTTPProblem) {
        write(problem.response, keepAlive: false, isHead: false)
        finish()
    }

    private func finish() {
        state = .finishing
        timer?.clear()
        rest = []
        stream.closeAfterWriting()
    }

    // MARK: TCPStreamDelegate

    func streamDidOpen() {}

    func streamDidReceive(_ bytes: RawSpan) {
        switch state {
        case .reading: read(bytes)
        case .handling, .waitingToWrite:
            // Reading is paused.
            rest += bytes.withUnsafeBytes { Array($0) }
        case .finishing, .closed: break
        }
    }

    func streamDidEnd() {
        if case .reading = state { finish() }
    }

    func streamIsWritable() {
        if case .waitingToWrite = state { goOn() }
    }

    func streamDidClose(_ error: NetworkError?) {
        if case .handling = state {} else { parser.releaseBody() }
        state = .closed
        timer?.clear()
        server.didClose(self)
    }
}
