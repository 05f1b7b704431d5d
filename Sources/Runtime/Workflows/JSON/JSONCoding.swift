private import FoundationEssentials

/// Values to bytes and back. Coders are made for each use: they are not safe to share.
enum JSONCoding {
    static func encode<Value: Encodable>(_ value: Value) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }

    static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// The bytes by which inputs are compared: the same for a Swift value and for the document that says the same.
    static func canonical(_ bytes: [UInt8]) throws(JSONError) -> [UInt8] {
        try JSONValue(parsing: bytes).canonicalBytes
    }
}
