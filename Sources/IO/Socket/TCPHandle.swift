import CLibuv

/// libuv's view of a TCP handle as a stream: a `uv_tcp_t` begins with a `uv_stream_t`.
func asStream<R>(
    _ handle: UnsafeMutablePointer<uv_tcp_t>, _ body: (UnsafeMutablePointer<uv_stream_t>) -> R
) -> R {
    UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_stream_t.self, capacity: 1, body)
}

/// - Parameter done: frees the handle.
func closeTCP(_ handle: UnsafeMutablePointer<uv_tcp_t>, _ done: uv_close_cb) {
    UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) {
        uv_close($0, done)
    }
}
