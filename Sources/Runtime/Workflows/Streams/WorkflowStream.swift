public import FlotillaIO

// Streams that a run emits to while it goes on, and that anyone can follow from any node. What is emitted is kept as the
// history of a checkpoint is: in order, outside of memory.

extension WorkflowContext {
    /// Adds a value to a stream of the run, for those who follow it (`Node.stream`); recorded, once.
    /// - Parameter stream: two values are not emitted to one stream at the same time: branches that run in parallel have
    ///   streams of their own.
    /// - Throws: as `checkpoint(_:_:)`.
    public func emit<Value: Codable & Sendable>(_ value: Value, to stream: String = WorkflowStreams.standard)
        async throws
    {
        try await execution.emit(value, to: stream)
    }
}

/// Names of streams.
public enum WorkflowStreams {
    /// The one that is meant where none is named.
    public static let standard = "progress"

    private static let prefix = "$stream/"

    /// Under which checkpoint a stream is kept.
    static func key(_ name: String) -> String { prefix + name }
    static func isKey(_ key: ByteText) -> Bool { key.text.hasPrefix(prefix) }
}

/// What a run has emitted, from a place on.
public struct WorkflowStreamPage: Hashable, Codable, Sendable {
    /// A value that was emitted.
    public struct Event: Hashable, Codable, Sendable {
        /// Its place in the stream, to go on behind.
        public var position: String
        /// In nanoseconds since 1970, by the group's time.
        public var recordedAt: Int64
        /// JSON.
        @Base64 public var value: [UInt8]
    }

    /// In their order.
    public var events: [Event]
    /// To go on from there, as `after`; nil where nothing was emitted yet.
    public var next: String?
    /// Nothing more will come: the run has ended, and these are its last.
    public var hasEnded: Bool
}

/// A place in a stream: the execution of the run, and a number that counts what it emitted, from 0.
struct StreamPosition: Hashable, Sendable {
    var execution: UInt64
    var number: UInt64

    var text: String { "\(execution).\(number)" }

    init(execution: UInt64, number: UInt64) { (self.execution, self.number) = (execution, number) }

    /// - Returns: nil for what no page has named.
    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let execution = UInt64(parts[0]), let number = UInt64(parts[1]), execution > 0,
            number < .max
        else { return nil }
        self.init(execution: execution, number: number)
    }
}

/// The values of a stream, in order, until its run has ended. Each is seen once.
public struct WorkflowStream<Value: Decodable & Sendable>: AsyncSequence, Sendable {
    /// A value and its place.
    public struct Element: Sendable {
        /// What was emitted.
        public var value: Value
        /// Whoever follows the stream again begins behind it.
        public var position: String
        /// When, by the group's time.
        public var recordedAt: WallTime
    }

    let after: String?
    let page: @Sendable (_ after: String?) async throws -> WorkflowStreamPage

    public struct AsyncIterator: AsyncIteratorProtocol {
        let page: @Sendable (_ after: String?) async throws -> WorkflowStreamPage
        var after: String?
        var waiting: ArraySlice<WorkflowStreamPage.Event> = []
        var hasEnded = false

        /// - Throws: as `Node.stream` says.
        public mutating func next() async throws -> Element? {
            while waiting.isEmpty {
                guard !hasEnded else { return nil }
                let page = try await page(after)
                (waiting, hasEnded) = (page.events[...], page.hasEnded)
                after = page.next ?? after
            }
            let event = waiting.removeFirst()
            do {
                return Element(
                    value: try JSONCoding.decode(Value.self, from: event.value), position: event.position,
                    recordedAt: WallTime(nanoseconds: event.recordedAt))
            } catch {
                throw WorkflowError(
                    .undecodableResult, "what was emitted at \(event.position) is not a \(Value.self): \(error)")
            }
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(page: page, after: after) }
}
