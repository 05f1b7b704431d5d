import Testing

@testable import FlotillaIO

@Suite("What an HTTP server takes from all of its clients") struct HTTPServerLimitsTests {
    @Test("clients beyond the limit get 503; when one leaves, another may come")
    func connectionLimit() async throws {
        var limits = HTTPServerLimits.patient
        limits.connectionsMax = 2
        try await withServer(limits: limits, handler: echo) { server in
            let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
            let clients = try (0..<2).map { _ in try RawClient(to: server.address) }
            for client in clients {
                client.write(request)
                #expect(await client.readSome().count > 0)
            }
            try await #expect(exchange(server, request).hasPrefix("HTTP/1.1 503 "))
            clients[0].endWriting()
            #expect(await clients[0].readToEnd().isEmpty)
            // Its place is free once the server has seen the close; until then the answer is 503.
            var answer = ""
            repeat {
                answer = try await exchange(server, request)
            } while answer.hasPrefix("HTTP/1.1 503 ")
            #expect(answer.hasPrefix("HTTP/1.1 200 "))
        }
    }

    @Test("bodies beyond what all may have together get 503, until those that are handled have been answered")
    func bodyBudget() async throws {
        var limits = HTTPServerLimits.patient
        limits.allBodiesBytesMax = 100
        let (arrived, gate) = (Latch(), Latch())
        let handler: HTTPServer.Handler = { request in
            if request.path == "/held" {
                arrived.open()
                await gate.wait()
            }
            return HTTPResponse(status: 200)
        }
        func post(_ path: String, _ count: Int) -> String {
            "POST \(path) HTTP/1.1\r\nHost: h\r\nContent-Length: \(count)\r\n\r\n"
                + String(repeating: "x", count: count)
        }
        try await withServer(limits: limits, handler: handler) { server in
            let held = try RawClient(to: server.address)
            held.write(post("/held", 80))
            await arrived.wait()
            try await #expect(exchange(server, post("/", 21)).hasPrefix("HTTP/1.1 503 "))
            try await #expect(exchange(server, post("/", 20)).hasPrefix("HTTP/1.1 200 "))
            // Who leaves does not make room while its request is handled.
            let left = try RawClient(to: server.address)
            left.write(post("/held", 20))
            gate.open()
            held.endWriting()
            #expect(await held.textToEnd().hasPrefix("HTTP/1.1 200 "))
            left.endWriting()
            #expect(await left.textToEnd().hasPrefix("HTTP/1.1 200 "))
            try await #expect(exchange(server, post("/", 100)).hasPrefix("HTTP/1.1 200 "))
        }
    }
}
