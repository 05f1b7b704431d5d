import FlotillaIO
import Testing

@Suite struct EncryptionTests {
    private func bytes(_ hex: String) -> [UInt8] {
        let digits = Array(hex.utf8)
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
    }

    @Test("AES-256-GCM gives what its designers' test case 16 says, and opens it again")
    func knownAnswer() throws {
        let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
        let (header, nonce) = (bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2"), bytes("cafebabefacedbaddecaf888"))
        let cipher = try #require(AES256GCM(key: key))
        let sealed = try #require(cipher.seal(plain, nonce: nonce, header: header))
        #expect(
            sealed
                == bytes(
                    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                        + "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                        + "76fc6ece0f4e1768cddf8853bb2d551b"))
        #expect(cipher.open(sealed, nonce: nonce, header: header) == plain)
    }

    @Test("what was changed anywhere, or cut, does not open; neither does it with another key")
    func tampering() throws {
        let cipher = try #require(AES256GCM(key: [UInt8](repeating: 7, count: 32)))
        let (nonce, header) = ([UInt8](repeating: 1, count: 12), [UInt8]("header".utf8))
        for plain in [[], [UInt8]("a secret".utf8)] {
            let sealed = try #require(cipher.seal(plain, nonce: nonce, header: header))
            #expect(cipher.open(sealed, nonce: nonce, header: header) == plain)
            for index in sealed.indices {
                var changed = sealed
                changed[index] ^= 1
                #expect(cipher.open(changed, nonce: nonce, header: header) == nil)
            }
            #expect(cipher.open(Array(sealed.dropLast()), nonce: nonce, header: header) == nil)
            #expect(cipher.open(sealed, nonce: nonce, header: []) == nil)
            #expect(cipher.open(sealed, nonce: [UInt8](repeating: 2, count: 12), header: header) == nil)
            let other = try #require(AES256GCM(key: [UInt8](repeating: 8, count: 32)))
            #expect(other.open(sealed, nonce: nonce, header: header) == nil)
        }
        #expect(AES256GCM(key: [1, 2, 3]) == nil)
    }

    @Test("HMAC-SHA-256 gives what test case 2 of RFC 4231 says")
    func authenticationCode() {
        #expect(
            HMACSHA256.code(of: Array("what do ya want for nothing?".utf8), key: Array("Jefe".utf8))
                == bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"))
    }
}
