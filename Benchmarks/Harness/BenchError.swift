/// Why a benchmark cannot go on, or what it found wrong.
struct BenchError: Error, Hashable, CustomStringConvertible {
    var message: String
    init(_ message: String) { self.message = message }
    var description: String { message }
}
