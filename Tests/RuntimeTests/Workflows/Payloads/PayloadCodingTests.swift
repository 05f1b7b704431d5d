import FlotillaIO
import Testing

@testable import Flotilla

@Suite struct PayloadCodingTests {
    static func key(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 32) }

    private let text = Array(#"{"card":"4111 1111 1111 1111","items":["a","a","a","a","a","a","a","a","a","a"]}"#.utf8)
    private var long: [UInt8] { Array(repeating: text, count: 10).flatMap { $0 } }

    private func error(_ body: () throws -> [UInt8]) -> WorkflowError.Code? {
        do {
            _ = try body()
            return nil
        } catch {
            return (error as? WorkflowError)?.code
        }
    }

    @Test("what is written compressed and encrypted comes back, holds nothing plain, and is shorter")
    func roundTrip() throws {
        let coding = PayloadCoding([ZstandardCodec(), try AESGCMCodec(keys: ["a": Self.key(1)], current: "a")])
        for plain in [text, long, [], Array("1".utf8)] {
            let payload = try coding.encode(plain)
            #expect(PayloadCoding.isEncoded(payload))
            #expect(try coding.decode(payload) == plain)
            #expect(try coding.encode(plain) == payload)
        }
        let payload = try coding.encode(long)
        #expect(payload.count < long.count / 2)
        #expect(!String(decoding: payload, as: UTF8.self).contains("4111"))
    }

    @Test("without codecs JSON is recorded as it is, and JSON of before stays readable")
    func plainJSON() throws {
        #expect(try PayloadCoding.json.encode(text) == text)
        let coding = PayloadCoding([try AESGCMCodec(keys: ["a": Self.key(1)], current: "a")])
        #expect(try coding.decode(text) == text)
    }

    @Test("what is short or would not become shorter is not compressed; compressed payloads are readable everywhere")
    func compression() throws {
        let coding = PayloadCoding([ZstandardCodec()])
        #expect(try coding.encode(text) == text)
        let payload = try coding.encode(long)
        #expect(payload.count < long.count / 2)
        #expect(try PayloadCoding.json.decode(payload) == long)
    }

    @Test("after a rotation new payloads take the new key, and those of the old key are readable while it is there")
    func rotation() throws {
        let old = PayloadCoding([try AESGCMCodec(keys: ["a": Self.key(1)], current: "a")])
        let both = PayloadCoding([try AESGCMCodec(keys: ["a": Self.key(1), "b": Self.key(2)], current: "b")])
        let new = PayloadCoding([try AESGCMCodec(keys: ["b": Self.key(2)], current: "b")])
        let before = try old.encode(text)
        #expect(try both.decode(before) == text)
        let after = try both.encode(text)
        #expect(try new.decode(after) == text)
        #expect(after != before)
        #expect(error { try new.decode(before) } == .unknownPayloadKey)
        let message = String(decoding: new.shown(before), as: UTF8.self)
        #expect(message.contains("key 'a'") && PayloadCoding.isUnreadable(new.shown(before)))
        #expect(!PayloadCoding.isUnreadable(new.shown(after)))
    }

    @Test("a codec that is not there, damage, and another key of the same id are named")
    func unreadable() throws {
        let coding = PayloadCoding([try AESGCMCodec(keys: ["a": Self.key(1)], current: "a")])
        let payload = try coding.encode(text)
        #expect(error { try PayloadCoding.json.decode(payload) } == .unknownPayloadKey)
        let other = PayloadCoding([try AESGCMCodec(keys: ["a": Self.key(2)], current: "a")])
        #expect(error { try other.decode(payload) } == .damagedPayload)
        for index in payload.indices {
            var changed = payload
            changed[index] ^= 1
            // Without its mark it is taken for JSON, which it is not; it never opens to what was written.
            #expect((try? coding.decode(changed)) != text)
            if index < payload.count - 1 { #expect((try? coding.decode(Array(payload[...index]))) != text) }
        }
    }

    @Test("the bytes of an encrypted payload stay the same: data on disk depends on them")
    func golden() throws {
        let codec = try AESGCMCodec(keys: ["2026": Array(0..<32)], current: "2026")
        let payload = try PayloadCoding([codec]).encode(Array("[1,2,3]".utf8))
        #expect(payload.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() == Self.goldenText)
    }

    /// Computed by another implementation of HMAC and AES-GCM.
    private static let goldenText =
        "f80b6165732d3235362d67636d043230323656a278875431d11d548d39438692e1b12c824f16d75e"
        + "7706f7298c4fcf20de1b8405d7"

    @Test("keys and codecs that cannot be used are refused by name")
    func refusals() throws {
        for (keys, current) in [(["a": Self.key(1)], "b"), (["a": [1]], "a"), (["": Self.key(1)], ""), ([:], "a")] {
            #expect(throws: PayloadError.self) { try AESGCMCodec(keys: keys, current: current) }
        }
        #expect(PayloadCoding([ZstandardCodec(), ZstandardCodec()]).problem?.contains("two codecs") == true)
        #expect(PayloadCoding([Growing(name: "")]).problem?.contains("name") == true)
        var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .memory)
        configuration.codec = PayloadCoding([ZstandardCodec(), ZstandardCodec()])
        #expect(throws: NodeError.self) { try configuration.validate() }
        #expect(error { try PayloadCoding([Growing(name: "g")]).encode([1]) } == .unencodable)
    }

    private struct Growing: PayloadCodec {
        let name: String
        func encode(_ bytes: [UInt8]) -> [UInt8]? { [UInt8](repeating: 0, count: 100_000) }
        func decode(_ bytes: [UInt8]) -> [UInt8] { bytes }
    }

    @Test("a file of keys: the first encrypts, all decrypt, and no error repeats what it says")
    func keyFile() throws {
        let (a, b) = (String(repeating: "01", count: 32), String(repeating: "02", count: 32))
        let codec = try PayloadOptions.codec(keys: "# keys\nnew \(b)  # since June\n\nold \(a)\n")
        let coding = PayloadCoding([codec])
        let new = PayloadCoding([try AESGCMCodec(keys: ["new": Self.key(2)], current: "new")])
        let old = PayloadCoding([try AESGCMCodec(keys: ["old": Self.key(1)], current: "old")])
        #expect(try coding.encode(text) == new.encode(text))
        #expect(try coding.decode(old.encode(text)) == text)
        for wrong in ["", "# none", "a", "a \(a.dropLast())", "a \(a.dropLast())g", "a \(a)\na \(b)", "a \(a) x"] {
            let error = #expect(throws: PayloadError.self) { try PayloadOptions.codec(keys: wrong) }
            #expect(error?.message.contains("0101") == false)
        }
    }
}
