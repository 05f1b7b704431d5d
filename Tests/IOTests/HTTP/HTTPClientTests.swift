import FlotillaIO
import Testing

@Suite struct HTTPClientTests {
    @Test(
        "methods, headers and bodies reach the server, and status and body come back",
        arguments: [0, 5, 3_000_000])
    func exchange(size: Int) async throws {
        let handler: HTTPServer.Handler = { request in
            HTTPResponse(
                status: 201,
                body: Array("\(request.method) \(request.header("x-key") ?? "") ".utf8)
                    + request.body)
        }
        try await withServer(handler: handler) { server in
            let body = [UInt8](repeating: 0x62, count: size)
            let answer = try await offPool {
                Result {
                    try HTTPClient.send(
                        method: "PUT", url: "http://\(server.address)/x", body: body,
                        headers: [("X-Key", "v")], timeout: .seconds(300))
                }
            }.get()
            #expect(answer.status == 201)
            #expect(answer.body == Array("PUT v ".utf8) + body)
        }
    }

    @Test("GET and HEAD without a body")
    func noBody() async throws {
        try await withServer(handler: echo) { server in
            let url = "http://\(server.address)/p?q=1"
            let get = try await offPool {
                Result { try HTTPClient.send(method: "GET", url: url, timeout: .seconds(300)) }
            }.get()
            #expect(get.status == 200)
            #expect(get.body == Array("GET /p q=1 \n".utf8))
            let head = try await offPool {
                Result { try HTTPClient.send(method: "HEAD", url: url, timeout: .seconds(300)) }
            }.get()
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
        }
    }

    @Test("errors say what was wrong")
    func errors() async throws {
        func code(
            _ url: String, headers: [(name: String, value: String)] = [],
            timeout: Duration = .seconds(300)
        ) async -> HTTPClientError.Code? {
            await offPool {
                do throws(HTTPClientError) {
                    _ = try HTTPClient.send(
                        method: "GET", url: url, headers: headers, timeout: timeout)
                    return nil
                } catch {
                    return error.code
                }
            }
        }
        #expect(await code("file:///etc/passwd") == .invalidRequest)
        #expect(await code("http://[") == .invalidRequest)
        #expect(await code("http://127.0.0.1:1/", headers: [("A", "b\r\nC: d")]) == .invalidRequest)
        let handler: HTTPServer.Handler = { _ in
            try? await Task.sleep(for: .seconds(3600))
            return HTTPResponse(status: 200)
        }
        let address = Collector<String>()
        try await withServer(handler: handler) { server in
            address.append(server.address)
            let url = "http://\(server.address)/"
            #expect(await code(url, timeout: .milliseconds(50)) == .timedOut)
        }
        #expect(await code("http://\(address.values[0])/") == .connectFailed)
    }
}
