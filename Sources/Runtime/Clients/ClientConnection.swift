import FlotillaActors
import FlotillaIO

/// A client's connection to one node of several, made anew when it ends. Lives on its loop; requests come in from any
/// thread, and all that come before the loop gets to them travel in one frame.
actor ClientConnection {
    /// Requests that wait for an answer; more are refused.
    static let requestsMax = 65_536
    /// A connection on which nothing arrives for this long is given up.
    static let silenceLimit: Duration = .seconds(8)
    private static let tick: Duration = .milliseconds(500)

    private struct Item {
        var request: ClientRequest
        /// It may be sent again where nobody knows whether it was done.
        var isRepeatable: Bool
        var deadline: MonotonicTime
        var completion: Completion<[UInt8]>
    }

    private struct Inbox {
        var items: [Item] = []
        /// Requests that have no answer yet, here and on the loop.
        var open = 0
        var isClosed = false
    }

    private enum Phase {
        /// Can transition to: greeting, stopped.
        case disconnected
        /// Connecting, or waiting for the node's hello. Can transition to: ready, disconnected, stopped.
        case greeting(any FrameConnection)
        /// Can transition to: disconnected, stopped.
        case ready(any FrameConnection)
        case stopped
    }

    nonisolated let unownedExecutor: UnownedSerialExecutor
    private nonisolated let loop: any Loop
    private let network: any Network
    private let addresses: [String]
    private nonisolated let inbox = Lock(Inbox())

    private var phase = Phase.disconnected
    /// Which address is next.
    private var attempts = 0
    private var backoff = Backoff()
    private var random = SystemRandomNumberGenerator()
    private var nextAttempt = MonotonicTime(nanoseconds: 0)
    private var lastHeard = MonotonicTime(nanoseconds: 0)
    private var lastSaid = MonotonicTime(nanoseconds: 0)
    private var lastNumber: UInt64 = 0
    /// What was sent over the present connection, and what waits to be.
    private var sent: [UInt64: Item] = [:]
    private var waiting: [Item] = []
    /// A frame that the connection did not take.
    private var unsent: [UInt8]?
    private var lastProblem = "no node was asked yet"
    private var timer: TimerToken?

    init(_ addresses: [String], loop: any Loop, network: any Network) {
        precondition(!addresses.isEmpty, "a client needs the address of a node")
        self.addresses = addresses
        self.loop = loop
        self.network = network
        unownedExecutor = loop.asUnownedSerialExecutor()
    }

    // MARK: Any thread

    /// - Throws: `WorkflowError` of the node, `overloaded`, `unavailable` or `stopped`; `CancellationError`.
    nonisolated func request(
        _ name: String, _ body: [UInt8], isRepeatable: Bool, timeout: Duration
    ) async throws -> [UInt8] {
        guard body.count <= ClientFrame.bodyBytesMax else {
            throw WorkflowError(
                .inputTooLarge, "a request of \(body.count) bytes; the limit is \(ClientFrame.bodyBytesMax)")
        }
        let item = Item(
            request: ClientRequest(number: 0, name: name, body: body), isRepeatable: isRepeatable,
            deadline: loop.now.advanced(by: timeout), completion: Completion())
        let isFirst = try inbox.withLock { inbox in
            guard !inbox.isClosed else { throw WorkflowError(.stopped, "the client has ended") }
            guard inbox.open < Self.requestsMax else {
                throw WorkflowError(
                    .overloaded, "\(Self.requestsMax) requests of this client wait for their answers; try again later")
            }
            inbox.open += 1
            inbox.items.append(item)
            return inbox.items.count == 1
        }
        if isFirst { loop.execute { self.assumeIsolated { $0.drain() } } }
        return try await item.completion.wait()
    }

    // MARK: Life

    func start() {
        arm()
        connect()
    }

    /// Whoever waits is told that the client has ended.
    func stop() {
        inbox.withLock { $0.isClosed = true }
        let connection = connection
        phase = .stopped
        if let timer { loop.cancel(timer) }
        timer = nil
        connection?.close()
        drain()
        for item in takeAll() { finish(item, .failure(WorkflowError(.stopped, "the client has ended"))) }
    }

    private func takeAll() -> [Item] {
        let all = sent.values.sorted { $0.request.number < $1.request.number } + waiting
        (sent, waiting) = ([:], [])
        return all
    }

    private func arm() {
        timer = loop.schedule(at: loop.now.advanced(by: Self.tick)) { [weak self] in
            self?.assumeIsolated { $0.look() }
        }
    }

    /// With every tick: who waits too long, or not any more; whether the node is there.
    private func look() {
        guard !isStopped else { return }
        let now = loop.now
        for item in sent.values where item.deadline <= now || item.completion.isFinished {
            sent[item.request.number] = nil
            expire(item)
        }
        for item in waiting where item.deadline <= now || item.completion.isFinished { expire(item) }
        waiting.removeAll { $0.completion.isFinished }
        switch phase {
        case .disconnected where nextAttempt <= now: connect()
        case .greeting(let connection), .ready(let connection):
            if lastHeard.duration(to: now) > Self.silenceLimit {
                lastProblem = "\(connection.remoteAddress) says nothing"
                connection.close()
            } else if isReady, lastSaid.duration(to: now) >= ClientFrame.pingInterval {
                send(ClientFrame().encoded)
            }
        case .disconnected, .stopped: break
        }
        arm()
    }

    private func expire(_ item: Item) {
        finish(
            item,
            .failure(
                WorkflowError(
                    .unavailable,
                    "no answer in time (\(lastProblem)). Whether it was done is unknown; the same request with the same id "
                        + "may be sent again")))
    }

    private func finish(_ item: Item, _ result: Result<[UInt8], any Error>) {
        inbox.withLock { $0.open -= 1 }
        item.completion.finish(result)
    }

    // MARK: Connection

    private var isStopped: Bool { if case .stopped = phase { true } else { false } }
    private var isReady: Bool { if case .ready = phase { true } else { false } }
    private var connection: (any FrameConnection)? {
        switch phase {
        case .greeting(let connection), .ready(let connection): connection
        case .disconnected, .stopped: nil
        }
    }

    /// The nodes take turns.
    private func connect() {
        let address = addresses[attempts % addresses.count]
        attempts += 1
        lastHeard = loop.now
        unsent = nil
        phase = .greeting(network.connect(to: address, loop: loop, delegate: ClientLinkDelegate(self)))
    }

    fileprivate func didOpen(_ connection: any FrameConnection) {
        guard self.connection === connection else { return connection.close() }
        _ = connection.send(ClientFrame(hello: ClientHello()).encoded)
        lastSaid = loop.now
    }

    fileprivate func didReceive(_ payload: [UInt8], _ connection: any FrameConnection) {
        guard self.connection === connection else { return }
        lastHeard = loop.now
        let frame: ClientFrame
        do throws(WireError) {
            frame = try ClientFrame(decoding: payload)
        } catch {
            lastProblem = "\(connection.remoteAddress): \(error)"
            return connection.close()
        }
        if case .greeting = phase {
            guard let hello = frame.hello, hello.objection == nil else {
                lastProblem = frame.hello?.objection ?? "\(connection.remoteAddress) is no node that takes clients"
                return connection.close()
            }
            phase = .ready(connection)
            backoff = Backoff()
            flush()
        }
        for answer in frame.answers { take(answer, connection) }
    }

    private func take(_ answer: ClientAnswer, _ connection: any FrameConnection) {
        guard let item = sent.removeValue(forKey: answer.number) else { return }
        switch answer.content {
        case .value(let bytes): finish(item, .success(bytes))
        case .failed(let failure):
            if item.isRepeatable, failure.code == WorkflowError.Code.stopped.rawValue {
                // Another node answers for the fleet as well.
                waiting.append(item)
                lastProblem = failure.message
                return connection.close()
            }
            finish(item, .failure(failure.error))
        }
    }

    fileprivate func didClose(_ connection: any FrameConnection, _ error: NetworkError?) {
        guard self.connection === connection else { return }
        if let error { lastProblem = error.description }
        phase = .disconnected
        unsent = nil
        let lost = sent.values.sorted { $0.request.number < $1.request.number }
        sent = [:]
        waiting = lost.filter(\.isRepeatable) + waiting
        for item in lost where !item.isRepeatable { expire(item) }
        let pause = backoff.next(using: &random)
        nextAttempt = loop.now.advanced(by: pause)
        // The tick would come late.
        _ = loop.schedule(at: nextAttempt) { [weak self] in self?.assumeIsolated { $0.reconnect() } }
    }

    private func reconnect() {
        guard case .disconnected = phase, nextAttempt <= loop.now else { return }
        connect()
    }

    // MARK: Sending

    private func drain() {
        let taken = inbox.withLock { inbox in
            var items: [Item] = []
            swap(&items, &inbox.items)
            return items
        }
        for var item in taken {
            lastNumber += 1
            item.request.number = lastNumber
            waiting.append(item)
        }
        flush()
    }

    fileprivate func flush() {
        guard case .ready(let connection) = phase else { return }
        if let frame = unsent {
            guard connection.send(frame) else { return }
            unsent = nil
        }
        var first = 0
        while first < waiting.count, unsent == nil {
            var frame = ClientFrame()
            var bytes = 0
            while first < waiting.count, bytes < ClientFrame.target {
                let item = waiting[first]
                first += 1
                guard !item.completion.isFinished else {
                    inbox.withLock { $0.open -= 1 }
                    continue
                }
                bytes += item.request.body.count
                frame.requests.append(item.request)
                sent[item.request.number] = item
            }
            if !frame.requests.isEmpty { send(frame.encoded) }
        }
        waiting.removeFirst(first)
    }

    private func send(_ frame: [UInt8]) {
        guard case .ready(let connection) = phase, unsent == nil else { return }
        lastSaid = loop.now
        if !connection.send(frame) { unsent = frame }
    }
}

/// Carries a connection's events into the client, on its loop.
private final class ClientLinkDelegate: FrameConnectionDelegate {
    private let client: ClientConnection
    init(_ client: ClientConnection) { self.client = client }

    func connectionDidOpen(_ connection: any FrameConnection) {
        client.assumeIsolated { $0.didOpen(connection) }
    }
    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
        client.assumeIsolated { $0.didReceive(payload, connection) }
    }
    func connectionIsWritable(_ connection: any FrameConnection) { client.assumeIsolated { $0.flush() } }
    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) {
        client.assumeIsolated { $0.didClose(connection, error) }
    }
}
