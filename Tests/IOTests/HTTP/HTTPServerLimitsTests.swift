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
            let refusal = try await exchange(server, request)
            #expect(refusal.hasPrefix("HTTP/1.1 503 ") && refusal.contains("Retry-After: 1\r\n"), "\(refusal)")
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
        let (arrived, second, gate) = (Latch(), Latch(), Latch())
        let handler: HTTPServer.Handler = { request in
            if request.path == "/held" {
                if request.body.count == 80 { arrived.open() } else { second.open() }
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
            let refusal = try await exchange(server, post("/", 21))
            #expect(refusal.hasPrefix("HTTP/1.1 503 ") && refusal.contains("Retry-After: 1\r\n"), "\(refusal)")
            try await #expect(exchange(server, post("/", 20)).hasPrefix("HTTP/1.1 200 "))
            // Who leaves does not make room while its request is handled.
            var left: RawClient? = try RawClient(to: server.address)
            left?.write(post("/held", 20))
            await second.wait()
            left = nil
            try await #expect(exchange(server, post("/", 1)).hasPrefix("HTTP/1.1 503 "))
            gate.open()
            held.endWriting()
            #expect(await held.textToEnd().hasPrefix("HTTP/1.1 200 "))
            // The other handler ends as soon.
            var answer = ""
            repeat {
                answer = try await exchange(server, post("/", 100))
            } while answer.hasPrefix("HTTP/1.1 503 ")
            #expect(answer.hasPrefix("HTTP/1.1 200 "))
        }
    }
}
