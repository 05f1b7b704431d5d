import CLibuv

/// libuv's side of an `EventLoop`: the loop and the handles that drive its queue and its timers.
/// Handles are allocated here and freed in their close callback, nowhere else.
final class LoopHandles {
    let uv: UnsafeMutablePointer<uv_loop_t>
    /// Bytes that arrive are handed on before the next read, so one buffer serves all connections.
    let readBuffer: UnsafeMutableRawBufferPointer
    private let wakeups = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private let prepare = UnsafeMutablePointer<uv_prepare_t>.allocate(capacity: 1)
    private let check = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
    private let idle = UnsafeMutablePointer<uv_idle_t>.allocate(capacity: 1)
    private let timer = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
    private let signal: WakeSignal
    private var isBusy = false
    private var isClosing = false

    /// The loop outlives its handles: its thread holds it.
    init(loop: EventLoop, _ signal: WakeSignal) throws(LoopError) {
        self.signal = signal
        uv = .allocate(capacity: 1)
        let result = uv_loop_init(uv)
        guard result == 0 else {
            uv.deallocate()
            throw LoopError(
                .cannotStart,
                "\(loop.name): \(uvErrorText(result)); raise the limit on open files (ulimit -n)")
        }
        readBuffer = .allocate(byteCount: TCPStream.readBufferBytes, alignment: 16)
        uv.pointee.data = Unmanaged.passUnretained(loop).toOpaque()
        // Waking is all that this one does: the queue is drained after the poll, in `check`.
        let pollResult = uv_poll_init(uv, wakeups, signal.descriptor)
        precondition(pollResult == 0, "uv_poll_init: \(uvErrorText(pollResult))")
        wakeups.pointee.data = Unmanaged.passUnretained(signal).toOpaque()
        uv_poll_start(wakeups, Int32(UV_READABLE.rawValue)) { poll, _, _ in
            Unmanaged<WakeSignal>.fromOpaque(poll!.pointee.data).takeUnretainedValue().take()
        }
        uv_prepare_init(uv, prepare)
        uv_prepare_start(prepare) { eventLoop($0!.pointee.loop).drain(beforePolling: true) }
        uv_check_init(uv, check)
        uv_check_start(check) { eventLoop($0!.pointee.loop).drain(beforePolling: false) }
        uv_idle_init(uv, idle)
        uv_timer_init(uv, timer)
    }

    deinit { readBuffer.deallocate() }

    /// Until every handle is closed.
    func run() {
        uv_run(uv, UV_RUN_DEFAULT)
        release()
    }

    /// Instead of `run`, when no thread could be had.
    func abandon() {
        close()
        run()
    }

    /// Whether the next polls do not block.
    func setBusy(_ busy: Bool) {
        guard busy != isBusy, !isClosing else { return }
        isBusy = busy
        if busy { uv_idle_start(idle) { _ in } } else { uv_idle_stop(idle) }
    }

    func setTimer(milliseconds: UInt64) {
        guard !isClosing else { return }
        // libuv counts from the time it read at the start of this pass.
        uv_update_time(uv)
        uv_timer_start(timer, { eventLoop($0!.pointee.loop).fireTimers() }, milliseconds, 0)
    }

    func close() {
        guard !isClosing else { return }
        isClosing = true
        for handle in [
            UnsafeMutableRawPointer(wakeups), UnsafeMutableRawPointer(prepare),
            UnsafeMutableRawPointer(check), UnsafeMutableRawPointer(idle),
            UnsafeMutableRawPointer(timer),
        ] {
            uv_close(handle.assumingMemoryBound(to: uv_handle_t.self)) { $0?.deallocate() }
        }
    }

    private func release() {
        let result = uv_loop_close(uv)
        precondition(
            result == 0, "a handle is still open at the loop's end: \(uvErrorText(result))")
        uv.deallocate()
    }
}

/// The loop behind libuv's pointer.
func eventLoop(_ uv: UnsafeMutablePointer<uv_loop_t>) -> EventLoop {
    Unmanaged<EventLoop>.fromOpaque(uv.pointee.data).takeUnretainedValue()
}

/// libuv's words for one of its error numbers.
func uvErrorText(_ code: Int32) -> String { String(cString: uv_strerror(code)) }
