import Glibc

/// Gives memory that was freed back to the system; the C library keeps it otherwise, in pieces between what is in use.
/// Whoever allocates meanwhile may have to wait for it. Does nothing where the C library is not glibc.
private func returnFreedMemory() {
    typealias Trim = @convention(c) (_ keptBytes: Int) -> CInt
    // Its header is not among those that Swift imports.
    guard let symbol = dlsym(nil, "malloc_trim") else { return }
    _ = unsafeBitCast(symbol, to: Trim.self)(0)
}

/// Counts what was freed in small pieces, and has it given back when it is worth it. Any thread.
package final class FreedMemory: Sendable {
    private struct State {
        var count = 0
        var isBusy = false
    }

    private let state = Lock(State())
    private let few: Int
    private let many: Int

    /// - Parameters:
    ///   - few: pieces that are given back when no more come for now.
    ///   - many: pieces that are given back although more come.
    package init(few: Int, many: Int) { (self.few, self.many) = (few, many) }

    /// - Returns: whether memory is being given back, on a thread of its own.
    @discardableResult
    package func note(isLast: Bool) -> Bool {
        let isTime = state.withLock { state in
            state.count += 1
            guard !state.isBusy, state.count >= (isLast ? few : many) else { return false }
            state = State(isBusy: true)
            return true
        }
        guard isTime else { return false }
        let started = Thread.start(name: "flotilla-memory") { [self] in
            returnFreedMemory()
            state.withLock { $0.isBusy = false }
        }
        guard case .success(let thread) = started else {
            // Next time, perhaps.
            state.withLock { $0.isBusy = false }
            return false
        }
        thread.detach()
        return true
    }
}
