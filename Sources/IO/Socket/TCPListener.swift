import CLibuv

/// Accepts TCP connections. Confined to its loop.
///
/// `@unchecked Sendable`: every method begins on the loop, which `preconditionOnLoop` or libuv's
/// callbacks ensure; `address` does not change.
package final class TCPListener: LoopResource, NetworkListener, @unchecked Sendable {
    /// Connections that the system holds until they are accepted; further ones wait at their
    /// senders.
    package static let backlog: Int32 = 511

    package let address: String
    private let loop: EventLoop
    private var accept: ((TCPStream) -> Void)?
    /// Called on the loop when the socket is closed; dropped then.
    var didClose: () -> Void = {}
    private var handle: UnsafeMutablePointer<uv_tcp_t>

    /// Opens a listener. A name is looked up at once, which blocks the loop: listeners are opened
    /// when a node starts.
    /// - Parameter accept: called on the loop; it sets the delegate. Reading starts afterwards.
    package init(
        on address: String, loop: EventLoop, accept: @escaping (TCPStream) -> Void
    ) throws(NetworkError) {
        loop.preconditionOnLoop()
        guard let handles = loop.openHandles else {
            throw NetworkError(.shutDown, "the loop \(loop.name) has stopped")
        }
        let target = try HostPort(address)
        guard let socketAddress = try NameLookup.now(target, on: handles).first else {
            throw NetworkError(.invalidAddress, "\(address): the name has no address")
        }
        let handle = UnsafeMutablePointer<uv_tcp_t>.allocate(capacity: 1)
        handle.initialize(to: uv_tcp_t())
        let initialized = uv_tcp_init(handles.uv, handle)
        guard initialized == 0 else {
            handle.deallocate()
            throw NetworkError(.connectFailed, "\(address): \(uvErrorText(initialized))")
        }
        var result = socketAddress.withPointer { uv_tcp_bind(handle, $0, 0) }
        if result == 0 {
            result = asStream(handle) { stream in
                uv_listen(stream, Self.backlog) { stream, status in
                    TCPListener.of(stream!.pointee.data).didArrive(status)
                }
            }
        }
        guard result == 0 else {
            closeTCP(handle) { $0?.deallocate() }
            throw Self.failure(address, result)
        }
        self.loop = loop
        self.accept = accept
        self.handle = handle
        let bound = SocketAddress { address, size in uv_tcp_getsockname(handle, address, size) }
        self.address = bound?.description ?? address
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        loop.register(self)
    }

    package func close() {
        loop.preconditionOnLoop()
        guard accept != nil else { return }
        accept = nil
        closeTCP(handle) { handle in
            let listener = TCPListener.of(handle!.pointee.data)
            handle?.deallocate()
            listener.loop.unregister(listener)
            listener.didClose()
            listener.didClose = {}
        }
    }

    func loopWillStop() { close() }

    private func didArrive(_ status: Int32) {
        // A failure here (no descriptors left) is the system's to solve: libuv drops the connection
        // and goes on.
        guard status == 0, let accept,
            let stream = asStream(handle, { TCPStream.accept(from: $0, loop: loop) })
        else { return }
        accept(stream)
        stream.resumeReading()
    }

    private static func of(_ data: UnsafeMutableRawPointer) -> TCPListener {
        Unmanaged<TCPListener>.fromOpaque(data).takeUnretainedValue()
    }

    private static func failure(_ address: String, _ code: Int32) -> NetworkError {
        switch code {
        case UV_EADDRINUSE.rawValue:
            NetworkError(
                .addressInUse,
                "\(address) is in use by another process: stop it, or choose another port (0 takes a free one)"
            )
        case UV_EADDRNOTAVAIL.rawValue:
            NetworkError(
                .invalidAddress,
                "\(address) is no address of this machine: write one of its own, or 0.0.0.0")
        default:
            NetworkError(.invalidAddress, "\(address): \(uvErrorText(code))")
        }
    }
}
