import FlotillaIO
import Testing

@Suite struct HTTPFuzzTests {
    private static let seeds = [
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nz",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/p HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ]

    private func mutated(using random: inout SeededGenerator) -> [UInt8] {
        var bytes = (0..<Int.random(in: 1...3, using: &random)).flatMap { _ in
            Array((Self.seeds.randomElement(using: &random) ?? "").utf8)
        }
        for _ in 0..<Int.random(in: 0...6, using: &random) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
            case 3: bytes.removeSubrange(index..<min(bytes.count, index + 20))
            default:
                let piece = bytes[index..<min(bytes.count, index + 30)]
                bytes.insert(contentsOf: piece, at: index)
            }
        }
        return bytes
    }

    @Test("whatever bytes arrive in whatever pieces, the server lives and answers the next client")
    func mutations() async throws {
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        let inputs = (0..<500).map { number -> [UInt8] in
            guard number % 10 > 0 else {
                return (0..<Int.random(in: 1...300, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
            }
            return mutated(using: &random)
        }
        let cuts = inputs.map { Int.random(in: 0...$0.count, using: &random) }
        try await withServer(handler: echo) { server in
            for (input, cut) in zip(inputs, cuts) {
                let client = try RawClient(to: server.address)
                client.write(Array(input[..<cut]))
                client.write(Array(input[cut...]))
                client.endWriting()
                let answer = await client.readToEnd()
                #expect(
                    answer.isEmpty || answer.starts(with: "HTTP/1.1 ".utf8),
                    "seed \(seed), input \(String(decoding: input, as: UTF8.self).debugDescription)"
                )
            }
            let client = try RawClient(to: server.address)
            client.write("GET /alive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            #expect(await client.textToEnd().hasSuffix("GET /alive  \n"), "seed \(seed)")
        }
    }
}
