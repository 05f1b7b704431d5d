/// What an HTTP server takes from its clients.
public struct HTTPServerLimits: Sendable {
    /// Longer bodies are answered with 413.
    public var bodyBytesMax = 8 * 1024 * 1024
    /// Of the bodies of all requests that are being read or handled; more are answered with 503.
    public var allBodiesBytesMax = 256 * 1024 * 1024
    /// Further clients are answered with 503.
    public var connectionsMax = 1024
    /// For a request's head, from its first byte (or, for the first, from the connection); then
    /// 408.
    public var headerTimeout: Duration = .seconds(10)
    /// For a request's body, in all; then 408.
    public var bodyTimeout: Duration = .seconds(60)
    /// Between two requests of a connection, and for a client to read what it asked for; then the
    /// connection closes.
    public var idleTimeout: Duration = .seconds(60)

    public init() {}
}

/// An HTTP/1.1 server for people and their tools: keep-alive, pipelining, chunked bodies. Requests
/// of one connection are handled one after the other, those of different connections at the same
/// time.
public final class HTTPServer: Sendable {
    public typealias Handler = @Sendable (HTTPRequest) async -> HTTPResponse

    /// The address in force, with the port that was chosen.
    public let address: String
    private let core: HTTPServerCore
    private let handler: Handler
    private let hasRun = Lock(false)

    private init(address: String, core: HTTPServerCore, handler: @escaping Handler) {
        self.address = address
        self.core = core
        self.handler = handler
    }

    /// Opens the listener. Clients may connect from then on; they are answered while `run()` runs.
    /// - Parameters:
    ///   - address: "host:port"; port 0 takes a free one.
    ///   - handler: runs off the loop, in a child task of `run()`.
    public static func start(
        on address: String, loop: EventLoop, limits: HTTPServerLimits = HTTPServerLimits(),
        handler: @escaping Handler
    ) async throws(NetworkError) -> HTTPServer {
        let core = HTTPServerCore(loop: loop, limits: limits)
        let bound = try await loop.run { () throws(NetworkError) in try core.listen(on: address) }
        return HTTPServer(address: bound, core: core, handler: handler)
    }

    /// Handles requests until it is cancelled or the loop shuts down; then closes the listener and
    /// all connections, cancels the handlers, and returns when all of that is done. Once.
    public func run() async {
        let isFirst = hasRun.withLock { hasRun in
            defer { hasRun = true }
            return !hasRun
        }
        precondition(
            isFirst, "an HTTP server runs once; \(address) is started anew for a second run")
        await withDiscardingTaskGroup { group in
            for await work in core.work {
                let isStarted = group.addTaskUnlessCancelled { [handler, loop = core.loop] in
                    let response = await handler(work.request)
                    // Its cancellation comes before that of the connections, all of which are to end unanswered.
                    let isCancelled = Task.isCancelled
                    loop.execute { isCancelled ? work.connection.abandon() : work.connection.respond(response) }
                }
                guard isStarted else { break }
            }
            await core.loop.run { [core] in core.stop() }
            group.cancelAll()
        }
        await core.allClosed.wait()
    }

    /// Closes the listener and all connections; `run()` then returns.
    public func stop() async { await core.loop.run { [core] in core.stop() } }
}
