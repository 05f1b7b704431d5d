/// The appends that a leader sent to one follower and that were not acknowledged yet: a ring, limited by
/// count and by bytes (etcd's `tracker.Inflights`). When it is full, only empty appends go out.
struct Inflights: Sendable {
    private struct Sent: Sendable {
        var lastIndex: LogIndex
        var bytes: Int
    }

    private let countMax: Int
    private let bytesMax: Int
    private var ring: ContiguousArray<Sent> = []
    private var start = 0
    private(set) var count = 0
    private(set) var bytes = 0

    init(countMax: Int, bytesMax: Int) {
        precondition(
            countMax > 0 && bytesMax > 0, "the limits of in-flight appends must be positive")
        self.countMax = countMax
        self.bytesMax = bytesMax
    }

    /// A message may overshoot the byte limit; the next one then has to wait.
    var isFull: Bool { count == countMax || bytes >= bytesMax }
    var isEmpty: Bool { count == 0 }

    mutating func add(lastIndex: LogIndex, bytes added: Int) {
        precondition(!isFull, "an append to \(lastIndex) beside \(count) others exceeds the limit")
        let slot = (start + count) % countMax
        let sent = Sent(lastIndex: lastIndex, bytes: added)
        if slot < ring.count { ring[slot] = sent } else { ring.append(sent) }
        count += 1
        bytes += added
    }

    /// Forgets every append that ends at or before `index`.
    mutating func acknowledge(through index: LogIndex) {
        while count > 0, ring[start].lastIndex <= index {
            if !mutated(.leaksInFlightBytes) { bytes -= ring[start].bytes }
            start = (start + 1) % countMax
            count -= 1
        }
        if count == 0 { start = 0 }
        precondition(count > 0 || bytes == 0, "\(bytes) bytes count as in flight, and nothing is")
    }

    /// For invariants: what `bytes` must be.
    var recomputedBytes: Int { (0..<count).reduce(0) { $0 + ring[(start + $1) % countMax].bytes } }

    /// Gives the memory of an empty ring back.
    mutating func shrink() { if count == 0 { ring = [] } }

    mutating func removeAll() {
        ring.removeAll(keepingCapacity: true)
        start = 0
        count = 0
        bytes = 0
    }
}
