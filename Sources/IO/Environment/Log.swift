/// Where the library's log lines go. The levels are swift-log's, so a bridge to its `Logger` is one closure.
public struct FlotillaLogger: Sendable {
    public enum Level: Int, Comparable, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error, critical
        public static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
    }

    public typealias Metadata = KeyValuePairs<String, String>
    /// Takes one line. Called on any thread, loops included: it must not block for long.
    public typealias Sink =
        @Sendable (_ level: Level, _ message: String, _ metadata: Metadata) -> Void

    /// Lines below this level are not even made.
    public let level: Level
    private let sink: Sink?

    public init(level: Level = .info, sink: @escaping Sink) {
        self.level = level
        self.sink = sink
    }

    private init() {
        level = .critical
        sink = nil
    }

    /// Says nothing.
    public static let silent = FlotillaLogger()

    public func log(
        _ level: Level, _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> Metadata = [:]
    ) {
        guard let sink, level >= self.level else { return }
        sink(level, message(), metadata())
    }

    public func debug(
        _ message: @autoclosure () -> String, _ metadata: @autoclosure () -> Metadata = [:]
    ) { log(.debug, message(), metadata()) }

    public func info(
        _ message: @autoclosure () -> String, _ metadata: @autoclosure () -> Metadata = [:]
    ) { log(.info, message(), metadata()) }

    public func warning(
        _ message: @autoclosure () -> String, _ metadata: @autoclosure () -> Metadata = [:]
    ) { log(.warning, message(), metadata()) }

    public func error(
        _ message: @autoclosure () -> String, _ metadata: @autoclosure () -> Metadata = [:]
    ) { log(.error, message(), metadata()) }
}
