/// A dictionary in pieces: a copy costs one reference, and the first write after it copies one piece only.
///
/// A snapshot holds such a copy while commands go on. With one `Dictionary` the next command would copy all of it on
/// the loop.
struct BucketedMap<Key: Hashable & Comparable & Sendable, Value: Sendable>: Sendable {
    /// Above this many members for each bucket the number of buckets is multiplied by `growth`.
    private static var membersPerBucket: Int { 64 }
    private static var growth: Int { 4 }
    /// So many members are compared one after the other: most maps of a run have one or two, and a dictionary of one
    /// takes as much as eight of them.
    private static var fewMax: Int { 8 }

    /// All members, in no order, until there were more than a few.
    private var few: [(key: Key, value: Value)] = []
    /// None until then, and one until there are more members than one holds.
    private var buckets: [[Key: Value]] = []
    private let minimumBuckets: UInt32
    private var bucketedCount: UInt32 = 0

    var count: Int { buckets.isEmpty ? few.count : Int(bucketedCount) }

    /// - Parameter minimumBuckets: of a map that is not small; a power of two.
    init(minimumBuckets: Int = 1) {
        precondition(
            minimumBuckets > 0 && minimumBuckets & (minimumBuckets - 1) == 0,
            "\(minimumBuckets) buckets are not a power of two")
        self.minimumBuckets = UInt32(minimumBuckets)
    }

    subscript(key: Key) -> Value? {
        buckets.isEmpty ? place(of: key).map { few[$0].value } : buckets[bucket(of: key)][key]
    }

    /// Adds or replaces.
    mutating func insert(_ value: Value, for key: Key) {
        if buckets.isEmpty {
            if let place = place(of: key) {
                few[place].value = value
                return
            }
            if few.count < Self.fewMax {
                // Not twice what is needed.
                if few.count == few.capacity { few.reserveCapacity(few.count < 2 ? few.count + 1 : 2 * few.count) }
                few.append((key, value))
                return
            }
        }
        if count >= buckets.count * Self.membersPerBucket { grow() }
        if buckets[bucket(of: key)].updateValue(value, forKey: key) == nil { bucketedCount += 1 }
    }

    /// Changes a member in its place.
    /// - Returns: what `body` returned, or nil if there is no such member.
    mutating func update<Result, Failure: Error>(
        _ key: Key, _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard !buckets.isEmpty else {
            guard let place = place(of: key) else { return nil }
            return try body(&few[place].value)
        }
        let bucket = bucket(of: key)
        guard let index = buckets[bucket].index(forKey: key) else { return nil }
        return try body(&buckets[bucket].values[index])
    }

    /// - Returns: the member that was removed; nil if there is none.
    @discardableResult
    mutating func remove(_ key: Key) -> Value? {
        guard !buckets.isEmpty else { return place(of: key).map { few.remove(at: $0).value } }
        let removed = buckets[bucket(of: key)].removeValue(forKey: key)
        if removed != nil { bucketedCount -= 1 }
        return removed
    }

    /// All members in no order. Takes time in proportion to the map: not for a loop, unless the map is small.
    var members: [(key: Key, value: Value)] {
        guard !buckets.isEmpty else { return few }
        var members: [(key: Key, value: Value)] = []
        members.reserveCapacity(count)
        for bucket in buckets {
            for (key, value) in bucket { members.append((key, value)) }
        }
        return members
    }

    /// Calls `body` with every member, in no order, without collecting them.
    func visit(_ body: (Key, Value) -> Void) {
        for (key, value) in few { body(key, value) }
        for bucket in buckets {
            for (key, value) in bucket { body(key, value) }
        }
    }

    /// All members by ascending key; see `members`.
    func sorted() -> [(key: Key, value: Value)] { members.sorted { $0.key < $1.key } }

    /// Which bucket holds a key differs from process to process; nothing that is replicated may depend on it.
    private func bucket(of key: Key) -> Int { key.hashValue & (buckets.count - 1) }

    private func place(of key: Key) -> Int? { few.firstIndex { $0.key == key } }

    private mutating func grow() {
        let old = buckets
        let count = old.isEmpty ? 1 : max(Int(minimumBuckets), old.count * Self.growth)
        buckets = Array(repeating: [:], count: count)
        for (key, value) in few { buckets[bucket(of: key)][key] = value }
        bucketedCount += UInt32(few.count)
        few = []
        for bucket in old {
            for (key, value) in bucket { buckets[self.bucket(of: key)][key] = value }
        }
    }
}
