import FlotillaIO
import Testing

@Suite struct ChecksumTests {
    @Test("CRC-32C of the standard's test vectors")
    func vectors() {
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
        // RFC 3720, appendix B.4.
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.checksum([UInt8](0..<32)) == 0x46DD_794E)
        #expect(CRC32C.checksum([UInt8]()) == 0)
    }

    @Test("a checksum goes on from the one of what came before")
    func seed() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let whole = CRC32C.checksum(bytes)
        for split in [0, 1, 8, 500, 999, 1000] {
            #expect(
                CRC32C.checksum(bytes[split...], seed: CRC32C.checksum(bytes[..<split])) == whole)
        }
        #expect(CRC32C.checksum([UInt8](), seed: 17) == 17)
        #expect(CRC32C.checksum(bytes, seed: 1) != whole)
    }
}
