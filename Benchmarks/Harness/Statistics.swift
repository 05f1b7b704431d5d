import Glibc

/// Figures over a set of measurements.
enum Statistics {
    /// The smallest value that at least `percent` of all values do not exceed (nearest rank); nil of nothing.
    static func percentile<Value: Comparable>(_ percent: Int, of values: [Value]) -> Value? {
        precondition((0...100).contains(percent), "no percentile \(percent)")
        guard !values.isEmpty else { return nil }
        let rank = (percent * values.count + 99) / 100
        return values.sorted()[max(0, rank - 1)]
    }

    static func median<Value: Comparable>(_ values: [Value]) -> Value? {
        percentile(50, of: values)
    }
}

extension Duration {
    var milliseconds: Double {
        Double(components.seconds) * 1e3 + Double(components.attoseconds) / 1e15
    }
    /// "1.28 s", "35 ms", "0.4 ms".
    var short: String {
        let value = milliseconds
        if value >= 1_000 { return "\(rounded(value / 1_000, 2)) s" }
        return value >= 10 ? "\(Int(value.rounded())) ms" : "\(rounded(value, 2)) ms"
    }
}

/// A number with at most so many digits after the point.
func rounded(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let text = "\((value * scale).rounded() / scale)"
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}

/// The machine's monotonic clock, which all its processes share.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
