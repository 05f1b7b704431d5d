import FlotillaIO
import Testing

/// Runs a server and cancels it when `body` is done.
func withServer(
    limits: HTTPServerLimits = HTTPServerLimits.patient, handler: @escaping HTTPServer.Handler,
    _ body: (HTTPServer) async throws -> Void
) async throws {
    try await withLoop { loop in
        let server = try await HTTPServer.start(
            on: "127.0.0.1:0", loop: loop, limits: limits, handler: handler)
        try await withThrowingTaskGroup { group in
            group.addTask { await server.run() }
            try await body(server)
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}

/// Answers with what it was asked.
@Sendable func echo(_ request: HTTPRequest) async -> HTTPResponse {
    let query = request.query.map { "\($0.name)=\($0.value)" }.joined(separator: "|")
    let text = "\(request.method) \(request.path) \(query) "
    return HTTPResponse(
        status: 200, headers: [("Content-Type", "text/plain")],
        body: Array(text.utf8) + request.body + [10])
}

/// What comes back for `text`, to the end of the connection.
func exchange(_ server: HTTPServer, _ text: String) async throws -> String {
    let client = try RawClient(to: server.address)
    client.write(text)
    client.endWriting()
    return await client.textToEnd()
}

@Suite struct HTTPServerTests {
    @Test("a request comes decoded, and its answer is whole HTTP")
    func simple() async throws {
        try await withServer(handler: echo) { server in
            let answer = try await exchange(
                server,
                "GET /a%20b/%C3%BC?x=1+2&y=%26&z HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            #expect(
                answer.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "))
            #expect(answer.contains(" GMT\r\nConnection: close\r\n\r\n"))
            #expect(answer.hasSuffix("GET /a b/ü x=1 2|y=&|z= \n"))
        }
    }

    @Test("headers are found in any case, and segments keep the slashes that were escaped")
    func headersAndSegments() async throws {
        let seen = Collector<HTTPRequest>()
        let handler: HTTPServer.Handler = { request in
            seen.append(request)
            return HTTPResponse(status: 204)
        }
        try await withServer(handler: handler) { server in
            let answer = try await exchange(
                server, "DELETE //runs/a%2Fb/ HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 204 No Content\r\n"))
            #expect(!answer.contains("Content-Length"))
            let request = await seen.wait(for: 1)[0]
            #expect(request.segments == ["runs", "a/b"])
            #expect(request.path == "//runs/a/b/")
            #expect(request.header("X-ONE") == "1")
            #expect(request.header("absent") == nil)
        }
    }

    @Test(
        "bodies come by length and in chunks; requests sent ahead are answered in order, one at a time"
    )
    func pipelining() async throws {
        let running = Lock(0)
        let handler: HTTPServer.Handler = { request in
            #expect(
                running.withLock {
                    $0 += 1
                    return $0
                } == 1)
            // Later requests get every chance to overtake.
            for _ in 0..<10 { await Task.yield() }
            running.withLock { $0 -= 1 }
            return await echo(request)
        }
        try await withServer(handler: handler) { server in
            let answer = try await exchange(
                server,
                "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                    + "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + "2\r\nde\r\n1;x=y\r\nf\r\n0\r\nTrailer: t\r\n\r\n"
                    + "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n" + "GET /4 HTTP/1.0\r\n\r\n"
                    + "GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
            // By bytes: to Swift, a carriage return and a line feed are one character.
            let lines = answer.utf8.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
            let bodies = lines.filter { $0.hasPrefix("POST") || $0.hasPrefix("GET") }
            #expect(bodies == ["POST /1  abc", "POST /2  def", "GET /3  ", "GET /4  "])
        }
    }

    @Test("a connection is kept between requests, also when each byte comes alone")
    func keepAlive() async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(to: server.address)
            for number in 1...3 {
                for byte in Array(
                    "POST /\(number) HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok".utf8)
                {
                    client.write([byte])
                }
                var answer = ""
                while !answer.hasSuffix("ok\n") {
                    answer += String(decoding: await client.readSome(), as: UTF8.self)
                }
                #expect(answer.contains("Connection: keep-alive"))
                #expect(answer.hasSuffix("POST /\(number)  ok\n"))
            }
        }
    }

    @Test("HEAD gets the head alone, with the length of what GET would give")
    func head() async throws {
        try await withServer(handler: echo) { server in
            let answer = try await exchange(
                server, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            #expect(answer.contains("Content-Length: 9\r\n"))
            #expect(answer.hasSuffix("\r\n\r\n"))
        }
    }

    @Test("a client that waits for 100 Continue gets it, and then its answer")
    func expectContinue() async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(to: server.address)
            client.write(
                "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            )
            var answer = ""
            while !answer.hasSuffix("\r\n\r\n") {
                answer += String(decoding: await client.readSome(), as: UTF8.self)
            }
            #expect(answer == "HTTP/1.1 100 Continue\r\n\r\n")
            client.write("hi")
            #expect(await client.textToEnd().hasSuffix("PUT /  hi\n"))
        }
    }

    @Test("an offer of another protocol is answered in HTTP/1.1")
    func upgrade() async throws {
        try await withServer(handler: echo) { server in
            let answer = try await exchange(
                server,
                "GET /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
                    + "GET /v HTTP/1.1\r\nHost: h\r\n\r\n"
            )
            #expect(answer.contains("GET /u"))
            #expect(answer.hasSuffix("GET /v  \n"))
        }
    }

    @Test(
        "what cannot be understood, or in two ways, is refused with a problem and the connection closed",
        arguments: [
            ("nonsense\r\n\r\n", 400), ("GET noslash HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400
            ),
            (
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
                400
            ),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                501
            ),
            ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ])
    func refused(request: String, status: Int) async throws {
        try await withServer(handler: echo) { server in
            let answer = try await exchange(server, request)
            #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(request) got \(answer)")
            #expect(answer.contains("Content-Type: application/problem+json\r\n"))
            #expect(answer.contains("\"status\":\(status)"))
            #expect(answer.contains("Connection: close"))
            #expect(answer.components(of: "HTTP/1.1 ") == 1)
        }
    }

    @Test("a head above its limit gets 431, a body above its limit 413, by length as in chunks")
    func tooLong() async throws {
        var limits = HTTPServerLimits.patient
        limits.bodyBytesMax = 1000
        try await withServer(limits: limits, handler: echo) { server in
            let long = String(repeating: "x", count: 20_000)
            for request in [
                "GET /\(long) HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nX: \(long)\r\n\r\n",
                "GET / HTTP/1.1\r\n\(long): x\r\n\r\n",
                "GET / HTTP/1.1\r\n" + String(repeating: "a:b\r\n", count: 4000) + "\r\n",
            ] {
                try await #expect(exchange(server, request).hasPrefix("HTTP/1.1 431 "))
            }
            try await #expect(
                exchange(server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n")
                    .hasPrefix("HTTP/1.1 413 "))
            let chunk = "3e8\r\n" + String(repeating: "y", count: 1000) + "\r\n"
            let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            try await #expect(
                exchange(server, chunked + chunk + "0\r\n\r\n").hasPrefix("HTTP/1.1 200 "))
            try await #expect(
                exchange(server, chunked + chunk + "1\r\nz\r\n0\r\n\r\n").hasPrefix(
                    "HTTP/1.1 413 "))
        }
    }

    @Test("an answer reaches a client that is still sending a body that is too long")
    func lingering() async throws {
        var limits = HTTPServerLimits.patient
        limits.bodyBytesMax = 10
        try await withServer(limits: limits, handler: echo) { server in
            let client = try RawClient(to: server.address)
            client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
            await offPool { client.write([UInt8](repeating: 1, count: 3_000_000)) }
            client.endWriting()
            #expect(await client.textToEnd().hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test("a request that does not come to its end is given up: 408; a silent connection is closed")
    func timeouts() async throws {
        var limits = HTTPServerLimits.patient
        limits.headerTimeout = .milliseconds(500)
        limits.bodyTimeout = .milliseconds(50)
        limits.idleTimeout = .milliseconds(50)
        try await withServer(limits: limits, handler: echo) { server in
            for begun in ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc"] {
                let client = try RawClient(to: server.address)
                client.write(begun)
                #expect(await client.textToEnd().hasPrefix("HTTP/1.1 408 "))
            }
            let silent = try RawClient(to: server.address)
            #expect(await silent.readToEnd().isEmpty)
            let idle = try RawClient(to: server.address)
            idle.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(await idle.textToEnd().components(of: "HTTP/1.1 ") == 1)
        }
    }

    @Test("a handler's answer that would break the protocol becomes 500")
    func unsoundAnswers() async throws {
        let handler: HTTPServer.Handler = { request in
            switch request.path {
            case "/status": HTTPResponse(status: 99)
            case "/name": HTTPResponse(status: 200, headers: [("A B", "x")])
            default: HTTPResponse(status: 200, headers: [("A", "x\r\nSet-Cookie: y")])
            }
        }
        try await withServer(handler: handler) { server in
            for path in ["/status", "/name", "/value"] {
                let answer = try await exchange(server, "GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(answer.hasPrefix("HTTP/1.1 500 "))
                #expect(!answer.contains("Set-Cookie"))
            }
        }
    }

    @Test(
        "a client that never reads its answers does not make the server keep more than its queue's limit of them"
    )
    func slowReader() async throws {
        let body = [UInt8](repeating: 120, count: 1_000_000)
        let handled = Lock(0)
        let handler: HTTPServer.Handler = { _ in
            handled.withLock { $0 += 1 }
            return HTTPResponse(status: 200, body: body)
        }
        try await withServer(handler: handler) { server in
            let client = try RawClient(to: server.address)
            client.write(String(repeating: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", count: 100))
            client.endWriting()
            // Answers another client in the meantime.
            try await #expect(
                exchange(server, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").hasPrefix("HTTP/1.1 200 ")
            )
            var count = 0
            while case let some = await client.readSome(), !some.isEmpty { count += some.count }
            #expect(count > 100_000_000)
            #expect(handled.withLock { $0 } == 101)
        }
    }

    @Test("cancelling run closes clients, cancels handlers, and returns after them")
    func cancelling() async throws {
        let started = Collector<Bool>()
        let ended = Collector<Bool>()
        let handler: HTTPServer.Handler = { _ in
            started.append(true)
            try? await Task.sleep(for: .seconds(3600))
            ended.append(Task.isCancelled)
            return HTTPResponse(status: 200)
        }
        try await withLoop { loop in
            let server = try await HTTPServer.start(on: "127.0.0.1:0", loop: loop, limits: .patient, handler: handler)
            // Many, so that some of their handlers end before the connections are closed.
            let busy = try (0..<32).map { _ in try RawClient(to: server.address) }
            let idle = try RawClient(to: server.address)
            await withTaskGroup { group in
                group.addTask { await server.run() }
                for client in busy { client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n") }
                _ = await started.wait(for: busy.count)
                group.cancelAll()
            }
            #expect(ended.values == busy.map { _ in true })
            for client in busy { #expect(await client.readToEnd().isEmpty) }
            #expect(await idle.readToEnd().isEmpty)
            #expect(throws: RawClient.Refused.self) { try RawClient(to: server.address) }
        }
    }

    @Test("shutting the loop down ends run")
    func loopShutdown() async throws {
        let loop = EventLoop()
        try loop.start()
        let server = try await HTTPServer.start(on: "127.0.0.1:0", loop: loop, limits: .patient, handler: echo)
        let client = try RawClient(to: server.address)
        await withTaskGroup { group in
            group.addTask { await server.run() }
            client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(await client.readSome().count > 0)
            await loop.shutdown()
        }
        #expect(await client.readToEnd().isEmpty)
    }
}

extension String {
    /// How often `part` occurs.
    func components(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
