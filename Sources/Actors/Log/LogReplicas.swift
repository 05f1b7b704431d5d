/// The replicas of a log by their keys, each in an allocation of its own: the table of thousands then has places of few
/// bytes, also the empty ones, and grows without moving them. A value: a copy stays as it is.
struct LogReplicas {
    private var replicas: [LogKey: Boxed<LogTable.Replica>] = [:]

    var count: Int { replicas.count }
    /// Ascending, so that the same history gives the same bytes.
    var sortedKeys: [LogKey] { replicas.keys.sorted() }
    /// By ascending keys.
    var sorted: [LogTable.Replica] { replicas.sorted { $0.key < $1.key }.map(\.value.value) }

    func contains(_ key: LogKey) -> Bool { replicas[key] != nil }

    subscript(key: LogKey) -> LogTable.Replica? {
        get { replicas[key]?.value }
        set { replicas[key] = newValue.map { Boxed($0) } }
    }

    /// Changes a replica in its place, which is looked up once.
    /// - Parameter space: given to `body`, which may change both.
    /// - Returns: false if it is not here.
    mutating func change(
        _ key: LogKey, _ space: inout LogSpace, _ body: (inout LogTable.Replica, inout LogSpace) -> Void
    ) -> Bool {
        guard let place = replicas.index(forKey: key) else { return false }
        body(&replicas.values[place].value, &space)
        return true
    }

    mutating func remove(_ key: LogKey) -> LogTable.Replica? { replicas.removeValue(forKey: key)?.value }
}
