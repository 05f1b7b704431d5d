import CLibuv

/// One TCP connection as a stream of bytes; here, and nowhere else, bytes of connections enter and
/// leave the process.
///
/// What is written during one pass of the loop leaves in one system call at its end. Confined to
/// the loop.
///
/// `@unchecked Sendable`: every method begins on the loop, which `preconditionOnLoop` or libuv's
/// callbacks ensure.
package final class TCPStream: LoopResource, @unchecked Sendable {
    private enum State {
        /// Can transition to: open, closing.
        case connecting
        /// Can transition to: finishing, closing.
        case open
        /// Writes what waits and throws away what arrives. Can transition to: closing.
        case finishing
        /// Can transition to: closed.
        case closing
        case closed
    }

    package let loop: EventLoop
    package private(set) var remoteAddress: String
    /// Kept until the last call.
    package var delegate: (any TCPStreamDelegate)?

    private var state = State.connecting
    private var handle: UnsafeMutablePointer<uv_tcp_t>?
    private var handleIsClosing = false
    /// What else the name stands for, while connecting.
    private var untried: ArraySlice<SocketAddress> = []
    private var connectRequest: UnsafeMutablePointer<uv_connect_t>?
    private var closeError: NetworkError?
    private var timer: DeadlineTimer?

    private var isReading = false
    private var hasEnded = false

    private var filling = WriteBuffer()
    /// Belongs to libuv while `isWriting`.
    private var inFlight = WriteBuffer()
    private var isWriting = false
    private var isFlushScheduled = false
    private var wasFoundFull = false
    private let writeRequest = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    private let shutdownRequest = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
    private var isShutDown = false

    private init(loop: EventLoop, remoteAddress: String) {
        self.loop = loop
        self.remoteAddress = remoteAddress
        // Nothing reads it before libuv has written it.
        writeRequest.initialize(to: uv_write_t())
        shutdownRequest.initialize(to: uv_shutdown_t())
    }

    deinit {
        writeRequest.deallocate()
        shutdownRequest.deallocate()
    }

    /// Starts to connect to "host:port"; every address of a name is tried in turn. The outcome is
    /// heard later, also that of an invalid address or of a loop that has shut down.
    package static func connect(
        to address: String, loop: EventLoop, delegate: any TCPStreamDelegate
    ) -> TCPStream {
        let stream = TCPStream(loop: loop, remoteAddress: address)
        stream.delegate = delegate
        stream.startConnecting(address)
        return stream
    }

    /// Takes a waiting connection from a listener; nil if it is already gone.
    static func accept(from listener: UnsafeMutablePointer<uv_stream_t>, loop: EventLoop)
        -> TCPStream?
    {
        let stream = TCPStream(loop: loop, remoteAddress: "unknown")
        guard let handles = loop.openHandles, let handle = stream.openHandle(handles) else {
            return nil
        }
        guard asStream(handle, { uv_accept(listener, $0) }) == 0 else {
            stream.close()
            return nil
        }
        stream.didEstablish(handle)
        return stream
    }

    // MARK: Reading

    /// After an accept; outgoing connections read from the start.
    package func resumeReading() {
        loop.preconditionOnLoop()
        guard state == .open || state == .finishing, !isReading, !hasEnded, let handle else {
            return
        }
        isReading = true
        let result = asStream(handle) { stream in
            uv_read_start(
                stream,
                { handle, _, buffer in
                    guard let handles = eventLoop(handle!.pointee.loop).openHandles else { return }
                    buffer?.pointee = uv_buf_t(
                        base: handles.readBuffer.baseAddress?.assumingMemoryBound(to: CChar.self),
                        len: handles.readBuffer.count)
                },
                { handle, count, buffer in
                    TCPStream.of(handle!.pointee.data).didRead(count, buffer!.pointee.base)
                })
        }
        if result != 0 { close(error: lost(result)) }
    }

    package func pauseReading() {
        loop.preconditionOnLoop()
        guard isReading, let handle, state == .open else { return }
        isReading = false
        _ = asStream(handle) { uv_read_stop($0) }
    }

    private func didRead(_ count: Int, _ base: UnsafeMutablePointer<CChar>?) {
        guard state == .open || state == .finishing else { return }
        if count > 0 {
            guard state == .open else { return }
            delegate?.streamDidReceive(UnsafeRawBufferPointer(start: base, count: count).bytes)
        } else if count == Int(UV_EOF.rawValue) {
            didReadEnd()
        } else if count < 0 {
            close(error: state == .finishing ? nil : lost(Int32(count)))
        }
    }

    private func didReadEnd() {
        hasEnded = true
        isReading = false
        if state == .open {
            delegate?.streamDidEnd()
        } else if isShutDown {
            close()
        }
    }

    // MARK: Writing

    /// Bytes that wait or are being written.
    package var queuedBytes: Int { filling.count + inFlight.count }

    /// Asking announces interest: `streamIsWritable` follows if the answer is true.
    package var isWriteQueueFull: Bool {
        guard queuedBytes > Self.writeQueueLimit else { return false }
        wasFoundFull = true
        return true
    }

    /// Takes the bytes, whatever waits; who writes much asks `isWriteQueueFull` first. Drops them
    /// unless open.
    package func write(_ bytes: RawSpan) {
        loop.preconditionOnLoop()
        guard state == .open else { return }
        filling.append(bytes)
        flushLater()
    }

    private func flushLater() {
        guard !isFlushScheduled, !isWriting else { return }
        isFlushScheduled = true
        loop.flushLater(self)
    }

    /// Writes what waits. Called by the loop at the end of a pass.
    func flush() {
        isFlushScheduled = false
        guard state == .open || state == .finishing, !isWriting, let handle else { return }
        guard !filling.isEmpty else { return didDrain() }
        var buffer = Self.buffer(filling)
        let written = asStream(handle) { uv_try_write($0, &buffer, 1) }
        if written >= 0 {
            filling.consume(Int(written))
        } else if written != UV_EAGAIN.rawValue {
            return close(error: lost(written))
        }
        guard !filling.isEmpty else { return didDrain() }
        swap(&filling, &inFlight)
        buffer = Self.buffer(inFlight)
        isWriting = true
        let result = asStream(handle) { stream in
            uv_write(writeRequest, stream, &buffer, 1) { request, status in
                TCPStream.of(request!.pointee.handle.pointee.data).didWrite(status)
            }
        }
        if result != 0 {
            isWriting = false
            close(error: lost(result))
        }
    }

    private func didWrite(_ status: Int32) {
        isWriting = false
        inFlight.removeAll()
        guard state == .open || state == .finishing else { return }
        guard status == 0 else { return close(error: lost(status)) }
        didDrain()
    }

    private func didDrain() {
        if !filling.isEmpty { flushLater() }
        if state == .finishing, queuedBytes == 0 { return shutDownWriting() }
        if wasFoundFull, queuedBytes <= Self.writeQueueLowMark {
            wasFoundFull = false
            delegate?.streamIsWritable()
        }
    }

    private static func buffer(_ bytes: borrowing WriteBuffer) -> uv_buf_t {
        uv_buf_t(base: bytes.pointer?.assumingMemoryBound(to: CChar.self), len: bytes.count)
    }

    // MARK: Closing

    /// Closes at once and drops what waits; the delegate hears of it later. Idempotent.
    package func close(error: NetworkError? = nil) {
        loop.preconditionOnLoop()
        guard state != .closing, state != .closed else { return }
        state = .closing
        closeError = error
        timer?.clear()
        guard handle != nil else {
            // Nothing was opened yet: a name is being looked up, or the address was invalid.
            return loop.executeAlways { self.didClose() }
        }
        closeHandle()
    }

    /// Writes what waits, then closes. Whatever arrives is thrown away. Idempotent.
    package func closeAfterWriting() {
        loop.preconditionOnLoop()
        guard state == .open else { return close() }
        resumeReading()
        guard state == .open else { return }
        state = .finishing
        startTimer(Self.lastWriteTimeout) { $0.close() }
        if !isFlushScheduled, !isWriting { flushLater() }
    }

    func loopWillStop() { close(error: NetworkError(.shutDown, "the loop \(loop.name) stops")) }

    private func shutDownWriting() {
        guard !isShutDown, let handle else { return }
        isShutDown = true
        if hasEnded { return close() }
        startTimer(Self.lingerTimeout) { $0.close() }
        let result = asStream(handle) { uv_shutdown(shutdownRequest, $0) { _, _ in } }
        if result != 0 { close() }
    }

    private func closeHandle() {
        guard let handle, !handleIsClosing else { return }
        handleIsClosing = true
        closeTCP(handle) { handle in
            let stream = TCPStream.of(handle!.pointee.data)
            handle?.deallocate()
            stream.handleDidClose()
        }
    }

    private func handleDidClose() {
        handle = nil
        handleIsClosing = false
        if state == .closing { didClose() } else { connectToNext() }
    }

    private func didClose() {
        state = .closed
        filling.removeAll()
        let delegate = self.delegate
        self.delegate = nil
        loop.unregister(self)
        delegate?.streamDidClose(closeError)
    }

    private func startTimer(_ duration: Duration, _ expired: @escaping (TCPStream) -> Void) {
        timer?.clear()
        let timer = DeadlineTimer(loop: loop) { [weak self] in
            if let self { expired(self) }
        }
        timer.set(after: duration)
        self.timer = timer
    }

    private func lost(_ code: Int32) -> NetworkError {
        NetworkError(.connectionLost, "\(remoteAddress): \(uvErrorText(code))")
    }
}

// MARK: Opening

extension TCPStream {
    private func startConnecting(_ address: String) {
        loop.preconditionOnLoop()
        guard let handles = loop.openHandles else {
            return close(error: NetworkError(.shutDown, "the loop \(loop.name) has stopped"))
        }
        loop.register(self)
        do throws(NetworkError) {
            let target = try HostPort(address)
            startTimer(Self.connectTimeout) { stream in
                stream.close(
                    error: stream.connectFailure("no answer within \(Self.connectTimeout)"))
            }
            if let numeric = SocketAddress(numeric: target) {
                untried = [numeric]
                connectToNext()
            } else {
                NameLookup.start(target, on: handles) { self.didLookUp($0) }
            }
        } catch {
            close(error: error)
        }
    }

    private func didLookUp(_ result: Result<[SocketAddress], NetworkError>) {
        guard state == .connecting else { return }
        switch result {
        case .success(let addresses):
            untried = addresses[...]
            connectToNext()
        case .failure(let error): close(error: error)
        }
    }

    private func connectToNext() {
        guard let address = untried.popFirst() else {
            return close(error: connectFailure("the name has no address"))
        }
        guard let handles = loop.openHandles, let handle = openHandle(handles) else {
            return close(error: connectFailure("no socket; raise the limit on open files"))
        }
        let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
        request.initialize(to: uv_connect_t())
        let result = address.withPointer {
            uv_tcp_connect(request, handle, $0) { request, status in
                let stream = TCPStream.of(request!.pointee.handle.pointee.data)
                request?.deallocate()
                stream.didConnect(status)
            }
        }
        if result != 0 {
            request.deallocate()
            didConnect(result)
        }
    }

    private func didConnect(_ status: Int32) {
        guard state == .connecting, let handle, !handleIsClosing else { return }
        if status != 0, !untried.isEmpty {
            // A socket that failed to connect is of no more use.
            return closeHandle()
        }
        guard status == 0 else { return close(error: connectFailure(uvErrorText(status))) }
        timer?.clear()
        didEstablish(handle)
        delegate?.streamDidOpen()
        resumeReading()
    }

    private func didEstablish(_ handle: UnsafeMutablePointer<uv_tcp_t>) {
        state = .open
        uv_tcp_nodelay(handle, 1)
        let peer = SocketAddress { address, size in uv_tcp_getpeername(handle, address, size) }
        if let peer { remoteAddress = peer.description }
    }

    private func openHandle(_ handles: LoopHandles) -> UnsafeMutablePointer<uv_tcp_t>? {
        let handle = UnsafeMutablePointer<uv_tcp_t>.allocate(capacity: 1)
        handle.initialize(to: uv_tcp_t())
        guard uv_tcp_init(handles.uv, handle) == 0 else {
            handle.deallocate()
            return nil
        }
        // The loop holds the stream while it is registered, which is as long as the handle is open.
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        self.handle = handle
        loop.register(self)
        return handle
    }

    private func connectFailure(_ why: String) -> NetworkError {
        NetworkError(.connectFailed, "\(remoteAddress): \(why)")
    }

    private static func of(_ data: UnsafeMutableRawPointer) -> TCPStream {
        Unmanaged<TCPStream>.fromOpaque(data).takeUnretainedValue()
    }
}
