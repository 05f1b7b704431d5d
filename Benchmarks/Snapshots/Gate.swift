import FlotillaIO
import Glibc

/// Holds up whoever reads a chunk while it is closed, so that windows with and without a transfer take turns in one
/// cluster.
final class Gate: Sendable {
    private let isClosed = Lock(false)

    func close() { isClosed.withLock { $0 = true } }
    func open() { isClosed.withLock { $0 = false } }

    /// Blocks the calling thread, which is a worker.
    func pass() {
        while isClosed.withLock({ $0 }) { usleep(500) }
    }
}
