/// The replicas of a log by their keys, each in an allocation of its own: the table of thousands then has places of few
/// bytes, also the empty ones, and grows without moving them. A value: a copy stays as it is.
struct LogReplicas {
    private final class Box {
        var replica: LogTable.Replica
        init(_ replica: LogTable.Replica) { self.replica = replica }
    }

    private var boxes: [LogKey: Box] = [:]

    var count: Int { boxes.count }
    /// Ascending, so that the same history gives the same bytes.
    var sortedKeys: [LogKey] { boxes.keys.sorted() }
    /// By ascending keys.
    var sorted: [LogTable.Replica] { boxes.sorted { $0.key < $1.key }.map(\.value.replica) }

    func contains(_ key: LogKey) -> Bool { boxes[key] != nil }

    subscript(key: LogKey) -> LogTable.Replica? {
        get { boxes[key]?.replica }
        set { boxes[key] = newValue.map { Box($0) } }
    }

    /// Changes a replica in its place, which is looked up once.
    /// - Parameter space: given to `body`, which may change both.
    /// - Returns: false if it is not here.
    mutating func change(
        _ key: LogKey, _ space: inout LogSpace, _ body: (inout LogTable.Replica, inout LogSpace) -> Void
    ) -> Bool {
        guard let place = boxes.index(forKey: key) else { return false }
        Self.change(&boxes.values[place], &space, body)
        return true
    }

    private static func change(
        _ box: inout Box, _ space: inout LogSpace, _ body: (inout LogTable.Replica, inout LogSpace) -> Void
    ) {
        if !isKnownUniquelyReferenced(&box) { box = Box(box.replica) }
        body(&box.replica, &space)
    }

    mutating func remove(_ key: LogKey) -> LogTable.Replica? { boxes.removeValue(forKey: key)?.replica }
}
