/// A sorted map in pieces, for keys that mostly come in ascending order and go from anywhere: a change touches one small
/// piece, so that a million members cost a change no more than a thousand do.
struct OrderedMap<Key: Comparable & Sendable, Value: Sendable>: Sendable {
    typealias Element = (key: Key, value: Value)

    /// A piece of twice as many members is cut in two.
    private static var pieceCount: Int { 256 }

    /// In ascending order; none of them is empty.
    private var pieces: [[Element]] = []
    private(set) var count = 0

    var first: Element? { pieces.first?.first }

    subscript(key: Key) -> Value? {
        let piece = piece(of: key)
        guard piece < pieces.count else { return nil }
        let place = place(of: key, in: pieces[piece])
        return pieces[piece][place].key == key ? pieces[piece][place].value : nil
    }

    /// Adds a member.
    mutating func insert(_ value: Value, for key: Key) {
        count += 1
        let piece = piece(of: key)
        if piece < pieces.count {
            let place = place(of: key, in: pieces[piece])
            precondition(pieces[piece][place].key != key, "\(key) is in the map already")
            pieces[piece].insert((key, value), at: place)
            if pieces[piece].count >= 2 * Self.pieceCount { cut(piece) }
        } else if pieces.isEmpty || pieces[piece - 1].count >= Self.pieceCount {
            pieces.append([(key, value)])
        } else {
            pieces[piece - 1].append((key, value))
        }
    }

    /// - Returns: the value that the key had; nil if it is not in the map.
    @discardableResult
    mutating func remove(_ key: Key) -> Value? {
        let piece = piece(of: key)
        guard piece < pieces.count else { return nil }
        let place = place(of: key, in: pieces[piece])
        guard pieces[piece][place].key == key else { return nil }
        count -= 1
        let value = pieces[piece].remove(at: place).value
        if pieces[piece].isEmpty { pieces.remove(at: piece) }
        return value
    }

    /// Up to `limit` members in their order, from the first behind `key` on.
    func elements(after key: Key, limit: Int) -> [Element] {
        var found: [Element] = []
        for piece in pieces[piece(of: key)...] {
            for element in piece where element.key > key {
                guard found.count < limit else { return found }
                found.append(element)
            }
        }
        return found
    }

    /// All members in their order. Takes time in proportion to the map: not for a loop.
    var elements: [Element] { pieces.flatMap(\.self) }

    private mutating func cut(_ piece: Int) {
        let rest = Array(pieces[piece][Self.pieceCount...])
        pieces[piece].removeSubrange(Self.pieceCount...)
        pieces.insert(rest, at: piece + 1)
    }

    /// The piece that has the key, or would: the first whose last key is not below it.
    private func piece(of key: Key) -> Int {
        Self.partition(pieces.count) { pieces[$0][pieces[$0].count - 1].key < key }
    }

    /// The first member that is not below the key.
    private func place(of key: Key, in piece: [Element]) -> Int { Self.partition(piece.count) { piece[$0].key < key } }

    /// Binary search: the first number for which `isBefore` does not hold.
    private static func partition(_ count: Int, _ isBefore: (Int) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(middle) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
