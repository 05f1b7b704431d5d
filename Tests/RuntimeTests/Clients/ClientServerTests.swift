import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("The server of binary clients")
struct ClientServerTests {
    /// What a connection hears.
    private final class Listener: FrameConnectionDelegate {
        let frames = Lock<[ClientFrame]>([])
        let isClosed = Promise<Void>()
        let first: [[UInt8]]
        init(sending first: [[UInt8]]) { self.first = first }

        func connectionDidOpen(_ connection: any FrameConnection) { for frame in first { _ = connection.send(frame) } }
        func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
            if let frame = try? ClientFrame(decoding: payload) { frames.withLock { $0.append(frame) } }
        }
        func connectionIsWritable(_ connection: any FrameConnection) {}
        func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) { isClosed.fulfill(()) }
    }

    /// A test that waits for its turn beside others is not silent for too long.
    private static let network = TCPNetwork(idleTimeout: .seconds(600))

    private func withServer(
        _ handler: @escaping ClientServer.Handler, _ body: (EventLoop, ClientServer, String) async throws -> Void
    ) async throws {
        let loop = EventLoop(name: "clients")
        try loop.start()
        let (server, address) = try await ClientServer.start(
            on: "127.0.0.1:0", loop: loop, network: Self.network, node: NodeID(7), cluster: 9, handler: handler)
        do {
            try await body(loop, server, address)
        } catch {
            await server.stop()
            await loop.shutdown()
            throw error
        }
        await server.stop()
        await loop.shutdown()
    }

    private func say(_ first: [[UInt8]], _ loop: EventLoop, _ address: String) async -> Listener {
        let listener = Listener(sending: first)
        loop.execute { _ = Self.network.connect(to: address, loop: loop, delegate: listener) }
        return listener
    }

    private func wait(_ listener: Listener, _ condition: @Sendable ([ClientFrame]) -> Bool) async throws {
        while !condition(listener.frames.withLock { $0 }) { try await Task.sleep(for: .milliseconds(2)) }
    }

    @Test("a client is greeted with node and cluster, and a frame without content is answered")
    func greeting() async throws {
        let ignoring: ClientServer.Handler = { _ in }
        try await withServer(ignoring) { loop, _, address in
            let hello = ClientFrame(hello: ClientHello())
            let listener = await say([hello.encoded, ClientFrame().encoded], loop, address)
            try await wait(listener) { $0.count == 2 }
            let frames = listener.frames.withLock { $0 }
            #expect(frames[0].hello == ClientHello(node: 7, cluster: 9) && frames[1].isEmpty)
        }
    }

    @Test("who speaks another protocol is told so and is not heard; who says no hello, or nonsense, is cut off")
    func refusals() async throws {
        let calls = Lock(0)
        let counting: ClientServer.Handler = { _ in calls.withLock { $0 += 1 } }
        try await withServer(counting) { loop, _, address in
            let ask = ClientFrame(requests: [ClientRequest(number: 1, name: "x", body: [])])
            let strange = ClientFrame(hello: ClientHello(protocolMin: 5, protocolMax: 6))
            let stranger = await say([strange.encoded, ask.encoded], loop, address)
            try await stranger.isClosed.wait()
            #expect(stranger.frames.withLock { $0 }.first?.hello?.refusal.contains("5 to 6") == true)
            try await (await say([ask.encoded], loop, address)).isClosed.wait()
            try await (await say([[0xFF, 0xFF]], loop, address)).isClosed.wait()
            #expect(calls.withLock { $0 } == 0)
        }
    }

    @Test("more requests than one connection may have open are refused, and the others are answered all the same")
    func openLimit() async throws {
        let held = Lock<[ClientCall]>([])
        let holding: ClientServer.Handler = { call in held.withLock { $0.append(call) } }
        try await withServer(holding) { loop, _, address in
            let limit = ClientServer.openMax
            var frame = ClientFrame(hello: ClientHello())
            frame.requests = (1...UInt64(limit + 1)).map { ClientRequest(number: $0, name: "x", body: []) }
            let listener = await say([frame.encoded], loop, address)
            try await wait(listener) { $0.contains { !$0.answers.isEmpty } }
            let refused = listener.frames.withLock { $0 }.flatMap(\.answers)
            #expect(refused.map(\.number) == [UInt64(limit + 1)])
            for call in held.withLock({ $0 }) { call.answer(.success([1])) }
            try await wait(listener) { $0.reduce(0) { $0 + $1.answers.count } == limit + 1 }
        }
    }

    @Test("a client that asks on and on without reading what was refused is cut off")
    func flood() async throws {
        let ignoring: ClientServer.Handler = { _ in }
        try await withServer(ignoring) { loop, _, address in
            var frame = ClientFrame(hello: ClientHello())
            frame.requests = (1...UInt64(2 * ClientServer.openMax + 1)).map {
                ClientRequest(number: $0, name: "x", body: [])
            }
            try await (await say([frame.encoded], loop, address)).isClosed.wait()
        }
    }

    @Test("an answer that is too large is an error that says so, and large ones travel in frames of their own")
    func largeAnswers() async throws {
        let sizes = [ClientFrame.bodyBytesMax + 1, ClientFrame.bodyBytesMax, ClientFrame.target, 3]
        let size = Lock(sizes)
        let handler: ClientServer.Handler = { call in
            call.answer(.success(Array(repeating: 7, count: size.withLock { $0.removeFirst() })))
        }
        try await withServer(handler) { loop, _, address in
            var frame = ClientFrame(hello: ClientHello())
            frame.requests = (1...4).map { ClientRequest(number: $0, name: "x", body: []) }
            let listener = await say([frame.encoded], loop, address)
            try await wait(listener) { $0.reduce(0) { $0 + $1.answers.count } == 4 }
            let answers = listener.frames.withLock { $0 }.flatMap(\.answers).sorted { $0.number < $1.number }
            guard case .failed(let failure) = answers[0].content else {
                Issue.record("it is no error: \(answers[0].number)")
                return
            }
            #expect(failure.code == WorkflowError.Code.resultTooLarge.rawValue)
            #expect(answers.dropFirst().map(\.content.size) == Array(sizes.dropFirst()))
        }
    }
}
