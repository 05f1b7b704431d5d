import FlotillaIO

/// What happened in a simulated cluster, a line each: virtual time, where, what. Equal seeds make equal bytes.
struct EventLog {
    /// More lines than this push the older half out.
    static let lineLimit = 100_000

    private(set) var lines: [String] = []
    private var dropped = 0

    /// - Returns: the line as it was written down.
    mutating func add(_ text: String, at time: MonotonicTime, node: Int?) -> String {
        if lines.count == Self.lineLimit {
            lines.removeFirst(Self.lineLimit / 2)
            dropped += Self.lineLimit / 2
        }
        let place = node.map { "node \($0)" } ?? "cluster"
        let line = "\(Self.seconds(SimulationWorld.start.duration(to: time))) \(place): \(text)"
        lines.append(line)
        return line
    }

    var text: String {
        let beginning = dropped == 0 ? [] : ["(\(dropped) earlier lines were dropped)"]
        return (beginning + lines).map { $0 + "\n" }.joined()
    }

    /// Seconds with nine decimals, which sort as they pass.
    private static func seconds(_ duration: Duration) -> String {
        let nanoseconds = duration.wholeNanoseconds
        let fraction = String(nanoseconds % 1_000_000_000)
        return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 9 - fraction.count) + fraction
    }
}
