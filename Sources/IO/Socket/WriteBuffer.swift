/// Bytes that wait to be written, in memory that stays in place while the system reads it.
struct WriteBuffer: ~Copyable {
    /// What an empty buffer keeps for the next bytes; a bigger one gives its memory back.
    static let keptBytesMax = 256 * 1024

    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var start = 0
    private var end = 0

    deinit { memory.deallocate() }

    var count: Int { end - start }
    var isEmpty: Bool { start == end }

    /// Valid until the next change.
    var pointer: UnsafeMutableRawPointer? { memory.baseAddress.map { $0 + start } }

    mutating func append(_ bytes: RawSpan) {
        reserve(bytes.byteCount)
        bytes.withUnsafeBytes { source in
            UnsafeMutableRawBufferPointer(rebasing: memory[end..<end + source.count])
                .copyMemory(from: source)
        }
        end += bytes.byteCount
    }

    mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "consuming \(count) of \(self.count) bytes")
        start += count
        if isEmpty { removeAll() }
    }

    mutating func removeAll() {
        start = 0
        end = 0
        if memory.count > Self.keptBytesMax { free() }
    }

    private mutating func free() {
        memory.deallocate()
        memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    private mutating func reserve(_ more: Int) {
        guard memory.count - end < more else { return }
        let waiting = UnsafeMutableRawBufferPointer(rebasing: memory[start..<end])
        let bigger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1024, 2 * (count + more)), alignment: 16)
        bigger.copyMemory(from: UnsafeRawBufferPointer(waiting))
        memory.deallocate()
        memory = bigger
        end -= start
        start = 0
    }
}
