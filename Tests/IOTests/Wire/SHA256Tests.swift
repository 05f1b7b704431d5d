import FlotillaIO
import Testing

@Suite struct SHA256Tests {
    @Test("SHA-256 of the standard's test vectors")
    func vectors() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        #expect(SHA256Digest(of: []).description == empty)
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(SHA256Digest(of: Array("abc".utf8)).description == abc)
        let million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        #expect(SHA256Digest(of: [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)).description == million)
    }

    @Test("a hash that was written down is the same again, and has 32 bytes")
    func decoding() {
        let hash = SHA256Digest(of: [1, 2, 3])
        #expect(SHA256Digest(hash.bytes) == hash)
        #expect(SHA256Digest(Array(hash.bytes.dropLast())) == nil)
        #expect(SHA256Digest(of: [1, 2, 4]) != hash)
    }
}
