import FlotillaActors
package import FlotillaIO

/// Starts workflows on a fleet, and hears of their ends, from a process that is no node: one connection, over which any
/// number of requests are under way at a time.
///
/// It is connected to one of the nodes that it was given, any of which answers for the whole fleet. Where that one ends or
/// falls silent the client goes on with the next, and sends again what had no answer: starts and waits may be repeated.
public final class FlotillaClient: Sendable {
    /// How long a request waits for a node that answers it.
    public static let timeLimit: Duration = .seconds(30)
    /// How long one wait for a run's end is; then the client asks again.
    private static let waitMax: Duration = .seconds(10)

    private let connection: ClientConnection
    private let loop: any Loop

    fileprivate init(_ addresses: [String], loop: any Loop, network: any Network) {
        self.loop = loop
        connection = ClientConnection(addresses, loop: loop, network: network)
    }

    fileprivate func start() async { await connection.start() }
    fileprivate func stop() async { await connection.stop() }

    /// Starts a workflow, or finds the run that an earlier start with the same id and an equal input made. Returns once the
    /// start is durable on a majority.
    /// - Parameters:
    ///   - id: makes it safe to send the start again, which the client does where a node ends before it has answered. Then
    ///     `StartedRun.existed` may be said of a run that this start has made.
    ///   - attributes: what lists find it by.
    /// - Throws: `WorkflowError` as `Node.start` does, and with `unavailable` where no node answered within `timeLimit`;
    ///   `CancellationError`.
    public func start<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input, attributes: [String: String] = [:]
    ) async throws -> WorkflowRun<Output> {
        let started = try await start(
            type: workflow.type.name, version: workflow.type.version, id: id,
            input: try encodeValue(input, "the input of \(workflow.type)"), attributes: attributes)
        return WorkflowRun(started) { [self] timeout in
            try await result(of: id, as: Output.self, timeout: timeout)
        }
    }

    /// The same with JSON.
    /// - Parameter version: nil takes the version of the run that the id has, else the newest.
    public func start(
        type: String, version: UInt32? = nil, id: String, input: [UInt8], attributes: [String: String] = [:]
    ) async throws -> StartedRun {
        let start = ClientStart(type: type, version: version, id: id, input: input, attributes: attributes)
        let answer = try await request(ClientStart.name, start.encoded, isRepeatable: true)
        return try decode { () throws(WireError) in try StartedRun(decodingForClients: answer) }
    }

    /// Waits for the end of a run, wherever and whenever it was started.
    /// - Parameter timeout: nil waits for ever.
    /// - Throws: `WorkflowError` as `Node.result` does, and with `unavailable`; `CancellationError`.
    public func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration? = nil
    ) async throws -> Output {
        let deadline = timeout.map { loop.now.advanced(by: $0) }
        while true {
            let left = deadline.map { max(.zero, loop.now.duration(to: $0)) }
            let wait = min(left ?? Self.waitMax, Self.waitMax)
            let answer = try await request(
                ClientResult.name, ClientResult(id: id, wait: wait).encoded, isRepeatable: true,
                timeout: wait + Self.timeLimit)
            let outcome = try decode { () throws(WireError) in try ClientOutcome(decoding: answer) }.outcome
            if let outcome { return try outcome.value(of: id, as: type) }
            if let deadline, loop.now >= deadline {
                throw WorkflowError(.timedOut, "workflow '\(id)' has not ended in time; it goes on")
            }
        }
    }

    /// Asks whatever the node at the other end knows.
    package func request(
        _ name: String, _ body: [UInt8], isRepeatable: Bool, timeout: Duration = timeLimit
    ) async throws -> [UInt8] {
        try await connection.request(name, body, isRepeatable: isRepeatable, timeout: timeout)
    }

    private func decode<Value>(_ body: () throws(WireError) -> Value) throws -> Value {
        do throws(WireError) {
            return try body()
        } catch {
            throw WorkflowError(.unexpectedAnswer, "an answer cannot be read: \(error)")
        }
    }
}

/// Connects to a fleet for as long as `body` runs, and returns what `body` returns. When this returns, the client's thread
/// and connection have ended; requests that `body` left behind have failed with `stopped`.
/// - Parameter addresses: where nodes take clients (`NodeConfiguration.clients`), "host:port" each; one is enough, and
///   with more the client outlives the end of a node.
/// - Throws: what `body` throws; `WorkflowError` with `unavailable` without an address; `LoopError` where the system has no
///   thread to spare. A node that does not answer is no error before something is asked.
public func withFlotillaClient<Result: Sendable>(
    _ addresses: [String], _ body: (FlotillaClient) async throws -> Result
) async throws -> Result {
    let loop = EventLoop(name: "flotilla-client")
    try loop.start()
    do {
        let result = try await withFlotillaClient(addresses, loop: loop, network: TCPNetwork(), body)
        await loop.shutdown()
        return result
    } catch {
        await loop.shutdown()
        throw error
    }
}

/// The same on a given loop and network.
package func withFlotillaClient<Result: Sendable>(
    _ addresses: [String], loop: any Loop, network: any Network, _ body: (FlotillaClient) async throws -> Result
) async throws -> Result {
    guard !addresses.isEmpty else {
        throw WorkflowError(.unavailable, "the client was given no address of a node")
    }
    let client = FlotillaClient(addresses, loop: loop, network: network)
    await client.start()
    do {
        let result = try await body(client)
        await client.stop()
        return result
    } catch {
        await client.stop()
        throw error
    }
}
