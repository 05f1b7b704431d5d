import FlotillaIO
import Testing

@Suite struct FrameCodecTests {
    private func frame(_ payload: [UInt8]) -> [UInt8] { FrameCodec.header(for: payload) + payload }

    /// Feeds `bytes` in pieces of `size`.
    private func decode(
        _ bytes: [UInt8], by size: Int, with decoder: inout FrameDecoder
    ) throws(NetworkError) -> [[UInt8]] {
        var payloads: [[UInt8]] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            let piece = Array(bytes[start..<min(start + size, bytes.count)])
            var position = 0
            while let payload = try decoder.next(in: piece.span.bytes, at: &position) {
                payloads.append(payload)
            }
            #expect(position == piece.count)
        }
        return payloads
    }

    @Test("the checksum is CRC-32C as others compute it")
    func checksum() {
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
        #expect(frame([0x61]) == [1, 0, 0, 0, 0x30, 0x43, 0xD0, 0xC1, 0x61])
    }

    @Test(
        "frames come out as they went in, however the stream is cut",
        arguments: [1, 2, 7, 8, 9, 100, 65536])
    func pieces(size: Int) throws {
        let payloads: [[UInt8]] = [
            [], [1], Array(repeating: 7, count: 300), [],
            Array((0..<100_000).map { UInt8(truncatingIfNeeded: $0) }),
        ]
        var decoder = FrameDecoder()
        let bytes = payloads.flatMap(frame)
        #expect(try decode(bytes, by: size, with: &decoder) == payloads)
        #expect(!decoder.isWithinFrame)
        try decoder.finish()
    }

    @Test("a flipped bit anywhere in a frame never gives a frame")
    func flippedBit() throws {
        let bytes = frame(Array("durable".utf8))
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            var decoder = FrameDecoder()
            do throws(NetworkError) {
                let payloads = try decode(damaged, by: 64, with: &decoder)
                #expect(payloads.isEmpty)
                // A longer length waits for more: the stream's end tells.
                try decoder.finish()
                Issue.record("bit \(bit) went unnoticed")
            } catch {
                #expect([.frameDamaged, .frameTooLong, .frameCut].contains(error.code))
            }
        }
    }

    @Test("a length above the limit is an error at once, and stays one")
    func tooLong() throws {
        let bytes: [UInt8] = [1, 0, 0, 1, 0, 0, 0, 0]
        var decoder = FrameDecoder()
        for _ in 0..<2 {
            let error = #expect(throws: NetworkError.self) {
                try decode(bytes, by: 8, with: &decoder)
            }
            #expect(error?.code == .frameTooLong)
        }
        var largest = FrameDecoder()
        #expect(try decode([0, 0, 0, 1, 0, 0, 0, 0], by: 8, with: &largest).isEmpty)
    }

    @Test(
        "a stream that ends within a frame is named, within the header as within the payload",
        arguments: [1, 7, 8, 10])
    func cut(count: Int) throws {
        var decoder = FrameDecoder()
        _ = try decode(Array(frame([1, 2, 3]).prefix(count)), by: 64, with: &decoder)
        let error = #expect(throws: NetworkError.self) { try decoder.finish() }
        #expect(error?.code == .frameCut)
    }

    @Test("random bytes never trap the decoder")
    func randomBytes() {
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            var bytes = (0..<Int.random(in: 0..<200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            // Small lengths, so that payloads are reached.
            if bytes.count > 8, Bool.random(using: &random) {
                bytes[1] = 0
                bytes[2] = 0
                bytes[3] = 0
            }
            var decoder = FrameDecoder()
            do throws(NetworkError) {
                _ = try decode(bytes, by: Int.random(in: 1...50, using: &random), with: &decoder)
            } catch {
                #expect([.frameDamaged, .frameTooLong].contains(error.code), "seed \(seed)")
            }
        }
    }
}
