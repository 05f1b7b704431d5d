import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("JSON")
struct JSONValueTests {
    @Test(
        "documents that say the same have the same canonical bytes",
        arguments: [
            (#"{"b":1,"a":[true,null]}"#, #" { "a" : [ true , null ] , "b" : 1.0 } "#),
            ("1e2", "100"), ("-0", "0"), ("-0.0", "0"), ("0.1", "1e-1"),
            ("100000000000000000000", "1e20"),
            ("18446744073709551615", "18446744073709551615"), (#""\u0041\/\n""#, "\"A/\\u000a\""),
            (#""\ud83d\ude00""#, "\"😀\""), ("9223372036854775807", "9223372036854775807"),
        ])
    func equal(a: String, b: String) throws {
        let (first, second) = try (
            JSONValue(parsing: Array(a.utf8)), JSONValue(parsing: Array(b.utf8))
        )
        #expect(first == second)
        #expect(first.canonicalBytes == second.canonicalBytes)
        #expect(try JSONValue(parsing: first.canonicalBytes) == first)
        #expect(try JSONCoding.decode(JSONValue.self, from: first.canonicalBytes) == first)
    }

    @Test(
        "documents that differ have different canonical bytes",
        arguments: [
            ("1", "\"1\""), ("[1,2]", "[2,1]"), ("9007199254740993", "9007199254740992"),
            ("null", "{}"), ("[]", "{}"),
            ("18446744073709551615", "18446744073709551614"), ("1.5", "1"), ("true", "1"),
        ])
    func different(a: String, b: String) throws {
        let (first, second) = try (
            JSONValue(parsing: Array(a.utf8)), JSONValue(parsing: Array(b.utf8))
        )
        #expect(first.canonicalBytes != second.canonicalBytes)
    }

    @Test(
        "what is not JSON is refused by name",
        arguments: [
            ("", "syntax"), ("{", "syntax"), ("[1,]", "syntax"), ("{\"a\":1,}", "syntax"),
            ("01", "syntax"), ("1.", "syntax"),
            ("-", "syntax"), ("1e", "syntax"), ("tru", "syntax"), ("1 2", "syntax"),
            ("\"\n\"", "syntax"), ("\"\\x\"", "syntax"),
            ("\"\\u12\"", "syntax"), ("\"abc", "syntax"), ("{1:2}", "syntax"), ("[1 2]", "syntax"),
            ("'a'", "syntax"), ("NaN", "syntax"),
            ("\"\\ud800\"", "invalidText"), ("\"\\ud800\\u0041\"", "invalidText"),
            ("\"\\udc00\"", "invalidText"),
            (#"{"a":1,"a":2}"#, "duplicateKey"), (#"{"a":1,"\u0061":2}"#, "duplicateKey"),
            ("1e999", "numberOutOfRange"), ("123456789012345678901234567890", "numberOutOfRange"),
        ])
    func refused(text: String, code: String) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: Array(text.utf8)) }
        #expect(error?.code.rawValue == code, "\(text)")
    }

    @Test("nesting is allowed to its limit and refused beyond, however deep")
    func depth() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array(
                (String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        _ = try JSONValue(parsing: nested(JSONValue.depthMax + 1))
        for depth in [JSONValue.depthMax + 2, 1_000_000] {
            let error = #expect(throws: JSONError.self) { try JSONValue(parsing: nested(depth)) }
            #expect(error?.code == .tooDeep)
        }
    }

    @Test("bytes that are not UTF-8, and random bytes, never trap")
    func noise() {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
        let seed = Simulation.seeds(1)[0]
        var generator = SeededGenerator(seed: seed)
        let alphabet = Array("{}[]\",:\\u0019eE+-.truefalsn \u{FF}".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0..<12, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            guard let value = try? JSONValue(parsing: bytes) else { continue }
            #expect(
                (try? JSONValue(parsing: value.canonicalBytes)) == value,
                "seed \(seed): \(bytes)")
        }
    }

    @Test("a Swift value and the document that says the same have the same canonical bytes")
    func codable() throws {
        struct Value: Codable {
            var z = 1.0
            var a = ["x/y": UInt64.max]
            var n: Int?
            var e = 1e20
        }
        let bytes = try JSONCoding.canonical(JSONCoding.encode(Value()))
        let text = #"{"e":100000000000000000000,"z":1,"a":{"x\/y":18446744073709551615}}"#
        #expect(try bytes == JSONCoding.canonical(Array(text.utf8)))
    }
}
