import FlotillaIO
import Glibc
import Testing

enum Heard: Sendable, Equatable {
    case opened
    case frame([UInt8])
    case writable
    case closed(NetworkError.Code?)
}

/// Writes down what a connection tells, and may answer.
final class Recorder: FrameConnectionDelegate, Sendable {
    let heard = Collector<Heard>()
    /// Everything heard, once the last call came.
    let ended = Collector<[Heard]>()
    let onFrame: @Sendable (any FrameConnection, [UInt8]) -> Void
    let onOpen: @Sendable (any FrameConnection) -> Void

    init(
        onOpen: @escaping @Sendable (any FrameConnection) -> Void = { _ in },
        onFrame: @escaping @Sendable (any FrameConnection, [UInt8]) -> Void = { _, _ in }
    ) {
        self.onOpen = onOpen
        self.onFrame = onFrame
    }
    func connectionDidOpen(_ connection: any FrameConnection) {
        heard.append(.opened)
        onOpen(connection)
    }
    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
        heard.append(.frame(payload))
        onFrame(connection, payload)
    }
    func connectionIsWritable(_ connection: any FrameConnection) { heard.append(.writable) }
    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) {
        heard.append(.closed(error?.code))
        ended.append(heard.values)
    }
}

@Suite struct TCPNetworkTests {
    private func listen(
        _ network: TCPNetwork, _ loop: EventLoop, on address: String = "127.0.0.1:0",
        _ delegate: Recorder
    ) async throws -> any NetworkListener {
        try await loop.run { () throws(NetworkError) in
            try network.listen(on: address, loop: loop) { connection in
                connection.delegate = delegate
            }
        }
    }

    private func connect(
        _ network: TCPNetwork, _ loop: EventLoop, to address: String, _ delegate: Recorder
    ) async -> any FrameConnection {
        await loop.run { network.connect(to: address, loop: loop, delegate: delegate) }
    }

    @Test(
        "frames go both ways, whole and in order, and an orderly end is no error",
        arguments: ["127.0.0.1:0", "[::1]:0"])
    func bothWays(address: String) async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let server = Recorder(onFrame: { connection, payload in
                _ = connection.send(payload + [0])
            })
            let listener = try await listen(network, loop, on: address, server)
            #expect(!listener.address.hasSuffix(":0"))
            let client = Recorder { connection in
                for number in 1...3 { _ = connection.send([UInt8(number)]) }
            }
            let connection = await connect(network, loop, to: listener.address, client)
            let heard = await client.heard.wait(for: 4)
            #expect(heard == [.opened, .frame([1, 0]), .frame([2, 0]), .frame([3, 0])])
            await loop.run {
                connection.close()
                connection.close()
            }
            #expect(await client.heard.wait(for: 5).last == .closed(nil))
            #expect(await server.heard.wait(for: 4).last == .closed(nil))
            let metrics = network.metrics
            #expect(metrics.framesIn == 6)
            #expect(metrics.framesOut == 6)
            #expect(metrics.bytesIn == metrics.bytesOut)
            #expect(metrics.connectionsOpened == 2)
            #expect(metrics.connectionsClosed == 2)
        }
    }

    @Test("a name is looked up, and each of its addresses is tried")
    func name() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let listener = try await listen(network, loop, Recorder())
            let port = listener.address.split(separator: ":")[1]
            let client = Recorder()
            _ = await connect(network, loop, to: "localhost:\(port)", client)
            #expect(await client.heard.wait(for: 1) == [.opened])
        }
    }

    @Test("what is no address is refused with words that say what to write")
    func invalidAddress() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            for text in [
                "", "7000", "host", "host:", ":7000", "host:70000", "::1:80", "a b:1", "[::1]",
            ] {
                let client = Recorder()
                _ = await connect(network, loop, to: text, client)
                #expect(await client.heard.wait(for: 1) == [.closed(.invalidAddress)], "\(text)")
                let error = await #expect(throws: NetworkError.self) {
                    _ = try await listen(network, loop, on: text, Recorder())
                }
                #expect(error?.code == .invalidAddress)
                #expect(error?.message.contains("write host:port") == true)
            }
        }
    }

    @Test("an address in use is named")
    func inUse() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let listener = try await listen(network, loop, Recorder())
            let error = await #expect(throws: NetworkError.self) {
                _ = try await listen(network, loop, on: listener.address, Recorder())
            }
            #expect(error?.code == .addressInUse)
        }
    }

    @Test("a port on which nobody listens is a failed connection")
    func refused() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let listener = try await listen(network, loop, Recorder())
            await loop.run {
                listener.close()
                listener.close()
            }
            let client = Recorder()
            let connection = await connect(network, loop, to: listener.address, client)
            #expect(await client.heard.wait(for: 1) == [.closed(.connectFailed)])
            #expect(await loop.run { connection.send([1]) } == false)
        }
    }

    @Test(
        "a damaged, an oversized and a cut frame each close their connection, by name, and no other"
    )
    func damage() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let server = Recorder(onFrame: { connection, payload in _ = connection.send(payload) })
            let listener = try await listen(network, loop, server)
            let bystander = Recorder()
            let connection = await connect(network, loop, to: listener.address, bystander)
            _ = await bystander.heard.wait(for: 1)
            var count = 0
            for (bytes, code): ([UInt8], NetworkError.Code) in [
                ([1, 0, 0, 0, 9, 9, 9, 9, 1], .frameDamaged),
                ([0, 0, 0, 0x70, 0, 0, 0, 0], .frameTooLong), ([5, 0, 0], .frameCut),
            ] {
                let socket = try RawClient(to: listener.address)
                socket.write(bytes)
                socket.endWriting()
                #expect(await socket.readToEnd().isEmpty)
                count += 1
                #expect(await server.heard.wait(for: count).last == .closed(code))
            }
            #expect(await loop.run { connection.send([42]) })
            #expect(await bystander.heard.wait(for: 2).last == .frame([42]))
            let metrics = network.metrics
            #expect(metrics.framesDamaged == 1)
            #expect(metrics.framesTooLong == 1)
            #expect(metrics.framesCut == 1)
        }
    }

    /// Both ends speak from one loop, so that a test that is starved delays their words and their
    /// timeouts alike.
    @Test("a stall of our own loop is not taken for the peer's silence; silence is")
    func idle() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .milliseconds(100))
            let ends = Lock<[any FrameConnection]>([])
            @Sendable func speak(_ times: Int) {
                guard times > 0 else { return ends.withLock { $0 = [] } }
                // The loop does nothing else meanwhile, not even look at its sockets.
                if times % 10 == 0 { usleep(250_000) }
                // Stops when either end was closed, so that what was heard tells it.
                guard ends.withLock({ $0 }).allSatisfy({ $0.send([1]) }) else { return }
                _ = loop.schedule(at: loop.now.advanced(by: .milliseconds(5))) { speak(times - 1) }
            }
            // Begins on the loop itself: a hop through this task could take longer than the timeout.
            @Sendable func join(_ connection: any FrameConnection) {
                let count = ends.withLock { ends in
                    ends.append(connection)
                    return ends.count
                }
                if count == 2 { speak(40) }
            }
            let server = Recorder()
            let listener = try await loop.run { () throws(NetworkError) in
                try network.listen(on: "127.0.0.1:0", loop: loop) { connection in
                    connection.delegate = server
                    join(connection)
                }
            }
            let client = Recorder { join($0) }
            _ = await connect(network, loop, to: listener.address, client)
            let heardByClient = await client.ended.wait(for: 1)[0]
            let heardByServer = await server.ended.wait(for: 1)[0]
            #expect(
                heardByClient.dropLast() == [.opened] + Array(repeating: .frame([1]), count: 40))
            #expect(heardByServer.dropLast() == Array(repeating: .frame([1]), count: 40)[...])
            // Who looks first closes; the other may hear that before it looks itself.
            let outcomes = [heardByClient.last, heardByServer.last]
            #expect(outcomes.contains(.closed(.idle)))
            #expect(outcomes.allSatisfy { $0 == .closed(.idle) || $0 == .closed(nil) })
        }
    }

    @Test(
        "a peer that does not read fills the queue up to its limit; when it reads, the sender hears of it"
    )
    func backpressure() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let server = Lock<(any FrameConnection)?>(nil)
            let accepted = Collector<Bool>()
            let recorder = Recorder()
            let listener = try await loop.run { () throws(NetworkError) in
                try network.listen(on: "127.0.0.1:0", loop: loop) { connection in
                    connection.delegate = recorder
                    server.withLock { $0 = connection }
                    accepted.append(true)
                }
            }
            let socket = try RawClient(to: listener.address)
            _ = await accepted.wait(for: 1)
            let connection = try #require(server.withLock { $0 })
            let payload = [UInt8](repeating: 5, count: 100_000)
            var sent = 0
            while await loop.run({ connection.send(payload) }) { sent += 1 }
            #expect(sent * payload.count > TCPStream.writeQueueLimit)
            var decoder = FrameDecoder()
            var received = 0
            while received < sent {
                let bytes = await socket.readSome()
                try #require(!bytes.isEmpty)
                var position = 0
                while let frame = try decoder.next(in: bytes.span.bytes, at: &position) {
                    #expect(frame == payload)
                    received += 1
                }
            }
            #expect(await recorder.heard.wait(for: 1) == [.writable])
            #expect(await loop.run { connection.send([1]) })
            server.withLock { $0 = nil }
        }
    }

    @Test("a reset by the peer is a lost connection, not the end of the process")
    func reset() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let server = Recorder()
            let listener = try await listen(network, loop, server)
            let socket = try RawClient(to: listener.address)
            socket.write(FrameCodec.header(for: [1]) + [1])
            _ = await server.heard.wait(for: 1)
            socket.reset()
            #expect(await server.heard.wait(for: 2).last == .closed(.connectionLost))
        }
    }

    @Test("shutting the loop down closes listeners and connections, and their delegates hear it")
    func shutdown() async throws {
        let loop = EventLoop()
        try loop.start()
        let network = TCPNetwork(idleTimeout: .seconds(3_600))
        let server = Recorder()
        let client = Recorder()
        let listener = try await listen(network, loop, server)
        let connection = await connect(network, loop, to: listener.address, client)
        _ = await client.heard.wait(for: 1)
        // Still being looked up when the loop stops.
        let late = Recorder()
        _ = await connect(network, loop, to: "localhost:1", late)
        await loop.shutdown()
        #expect(client.heard.values.last == .closed(.shutDown))
        #expect(late.heard.values.count == 1)
        #expect(await loop.run { connection.send([1]) } == false)
        await loop.run {
            connection.close()
            listener.close()
        }
        await #expect(throws: NetworkError.self) { _ = try await listen(network, loop, Recorder()) }
        // On a loop that has ended the outcome is heard as well.
        let afterwards = Recorder()
        _ = await connect(network, loop, to: "127.0.0.1:1", afterwards)
        #expect(await afterwards.heard.wait(for: 1) == [.closed(.shutDown)])
    }

    @Test("the largest frame passes")
    func largest() async throws {
        try await withLoop { loop in
            let network = TCPNetwork(idleTimeout: .seconds(3_600))
            let payload = [UInt8](repeating: 3, count: FrameCodec.payloadBytesMax)
            let server = Recorder()
            let listener = try await listen(network, loop, server)
            let client = Recorder { connection in
                #expect(connection.send(payload))
                #expect(!connection.send([1]))
            }
            _ = await connect(network, loop, to: listener.address, client)
            #expect(await server.heard.wait(for: 1) == [.frame(payload)])
        }
    }
}
