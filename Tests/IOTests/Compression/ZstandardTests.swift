import FlotillaIO
import Testing

@Suite struct ZstandardTests {
    @Test("what is compressed comes back, and takes less room", arguments: [1_000, 1 << 20])
    func roundTrip(_ size: Int) throws {
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let compressed = try #require(Zstandard.compress(bytes))
        #expect(compressed.count < size / 2)
        #expect(Zstandard.decompress(compressed, sizeLimit: size) == bytes)
    }

    @Test("what would not become shorter is not compressed")
    func incompressible() {
        var generator = SeededGenerator(seed: 7)
        #expect(Zstandard.compress((0..<4096).map { _ in UInt8.random(in: .min ... .max, using: &generator) }) == nil)
        #expect(Zstandard.compress([]) == nil)
    }

    @Test("damage, other bytes and more than the limit give nothing")
    func refused() throws {
        let bytes = [UInt8](repeating: 3, count: 5_000)
        let compressed = try #require(Zstandard.compress(bytes))
        #expect(Zstandard.decompress(compressed, sizeLimit: 4_999) == nil)
        #expect(Zstandard.decompress(Array(compressed.dropLast()), sizeLimit: 5_000) == nil)
        #expect(Zstandard.decompress([1, 2, 3], sizeLimit: 5_000) == nil)
        #expect(Zstandard.decompress([], sizeLimit: 5_000) == nil)
    }
}
