import FlotillaActors

/// A group's runs. Each has storage of its own: a table has more places than members, and a run takes some hundred bytes.
struct RunMap: Sendable {
    private var runs: BucketedMap<RunKey, Boxed<Run>>

    /// - Parameter minimumBuckets: as of `BucketedMap`.
    init(minimumBuckets: Int) { runs = BucketedMap(minimumBuckets: minimumBuckets) }

    var count: Int { runs.count }

    subscript(key: RunKey) -> Run? { runs[key]?.value }

    /// Adds or replaces.
    mutating func insert(_ run: Run, for key: RunKey) { runs.insert(Boxed(run), for: key) }

    /// Changes a run in its place.
    /// - Returns: what `body` returned, or nil if there is no such run.
    mutating func update<Result, Failure: Error>(
        _ key: RunKey, _ body: (inout Run) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        try runs.update(key) { box throws(Failure) in try body(&box.value) }
    }

    /// - Returns: the run that was removed; nil if there is none.
    mutating func remove(_ key: RunKey) -> Run? { runs.remove(key)?.value }

    /// Calls `body` with every run, in no order, without collecting them.
    func visit(_ body: (RunKey, Run) -> Void) { runs.visit { key, box in body(key, box.value) } }

    /// All runs by ascending sequence number. Takes time in proportion to the map: not for a loop.
    func inStartOrder() -> some RandomAccessCollection<(key: RunKey, run: Run)> {
        runs.members.map { (sequence: $0.value.value.sequence, key: $0.key, run: $0.value) }
            .sorted { $0.sequence < $1.sequence }
            .lazy.map { (key: $0.key, run: $0.run.value) }
    }
}
