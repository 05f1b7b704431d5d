/// A bell for one task. Rings that come while one is unheard are the same ring.
struct Signal: Sendable {
    let rings: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (rings, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    func ring() { continuation.yield(()) }
    func finish() { continuation.finish() }
}
