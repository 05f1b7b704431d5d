import CLibuv
import Glibc

/// What another thread writes to so that a loop's poll returns: an eventfd.
///
/// It is not `uv_async_send`, behind which the woken thread spins until the sender has left that call, and which needs a
/// handle that is known to be open: this lives as long as the loop object, so it may be sent at any time and under no lock.
final class WakeSignal: Sendable {
    let descriptor: Int32

    init() throws(LoopError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard descriptor >= 0 else {
            throw LoopError(
                .cannotStart, "no eventfd: \(systemErrorText(errno)); raise the limit on open files (ulimit -n)")
        }
    }

    deinit { close(descriptor) }

    /// Makes the poll return, or the next one. Any thread.
    func send() {
        var one: UInt64 = 1
        // It can only fail when 2^64 - 2 wake-ups wait already, and then the poll returns anyway.
        while write(descriptor, &one, MemoryLayout<UInt64>.size) < 0, errno == EINTR {}
    }

    /// What was sent is seen. The loop's thread.
    func take() {
        var count: UInt64 = 0
        while read(descriptor, &count, MemoryLayout<UInt64>.size) < 0, errno == EINTR {}
    }
}
