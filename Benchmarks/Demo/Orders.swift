import FoundationEssentials

/// One line of a file of orders, with what its receipt must say.
struct Order: Sendable {
    var id: String
    var totalCents: Int
    /// The line as it stands in the file: the workflow's input.
    var json: String

    private struct Line: Decodable {
        struct Item: Decodable {
            var quantity: Int
            var priceCents: Int
        }
        var order: String
        var items: [Item]
    }

    /// - Throws: naming the line that is no order, or that uses another line's id.
    static func read(_ text: String, from path: String) throws(BenchError) -> [Order] {
        let decoder = JSONDecoder()
        var orders: [Order] = []
        var seen: Set<String> = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        where !line.allSatisfy(\.isWhitespace) {
            let decoded: Line
            do {
                decoded = try decoder.decode(Line.self, from: Data(line.utf8))
            } catch {
                throw BenchError(
                    "\(path), line \(index + 1) is no order: it needs \"order\" and \"items\" with "
                        + "\"quantity\" and \"priceCents\"")
            }
            guard seen.insert(decoded.order).inserted else {
                throw BenchError(
                    "\(path), line \(index + 1): the order \(decoded.order) stands there twice")
            }
            let total = decoded.items.reduce(0) { $0 + $1.quantity * $1.priceCents }
            orders.append(Order(id: decoded.order, totalCents: total, json: String(line)))
        }
        guard !orders.isEmpty else { throw BenchError("\(path) holds no orders") }
        return orders
    }
}
