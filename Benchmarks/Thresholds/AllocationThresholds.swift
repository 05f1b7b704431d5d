/// How often something may ask for memory, per operation, by the name of the operation. Kept in a file for each
/// version of the toolchain, since another optimiser makes other counts.
struct AllocationThresholds: Hashable {
    var values: [String: Double]

    /// A count may be so much above its threshold: a part of it depends on how arrays happen to grow.
    static let tolerance = 0.05

    init(_ values: [String: Double]) { self.values = values }

    /// One name and number on each line; what begins with # is a comment.
    init(text: String) throws(BenchError) {
        values = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            guard words.count == 2, let value = Double(words[1]), value >= 0 else {
                throw BenchError("'\(line)' is not a name and a number of allocations")
            }
            values[String(words[0])] = value
        }
    }

    var text: String {
        "# Allocations per operation; written by 'flotilla-bench allocations --record'.\n"
            + values.sorted { $0.key < $1.key }.map { "\($0.key) \(rounded($0.value, 3))\n" }.joined()
    }

    /// What is wrong with these counts: a line for each that is too high, and for each that is not compared.
    func complaints(about measured: [String: Double]) -> [String] {
        var lines: [String] = []
        for (name, count) in measured.sorted(by: { $0.key < $1.key }) {
            guard let limit = values[name] else {
                lines.append("\(name) has no threshold; record one")
                continue
            }
            if count > limit * (1 + Self.tolerance) + 0.0005 {
                lines.append("\(name) allocates \(rounded(count, 3)) times, the threshold is \(rounded(limit, 3))")
            }
        }
        for name in values.keys.sorted() where measured[name] == nil {
            lines.append("\(name) has a threshold and was not measured; remove it")
        }
        return lines
    }
}
