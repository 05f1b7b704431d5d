private import FoundationEssentials

/// Bytes, perhaps none, which are base64 text where their owner is coded: an array of numbers would be four times as
/// long.
@propertyWrapper
public struct Base64<Value: Base64Codable>: Hashable, Codable, Sendable {
    /// The bytes.
    public var wrappedValue: Value

    /// Bytes as they are.
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = container.decodeNil() ? nil : try container.decode(String.self)
        guard let value = Value(base64Bytes: try text.map { try Self.bytes($0, container) }) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "there are no bytes")
        }
        wrappedValue = value
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        guard let bytes = wrappedValue.base64Bytes else { return try container.encodeNil() }
        try container.encode(Data(bytes).base64EncodedString())
    }

    private static func bytes(_ text: String, _ container: any SingleValueDecodingContainer) throws -> [UInt8] {
        guard let data = Data(base64Encoded: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "this is no base64 text")
        }
        return Array(data)
    }
}

/// Base64 with the alphabet for URLs, without padding (RFC 4648, 5).
enum Base64URL {
    static func encode(_ bytes: [UInt8]) -> String {
        String(
            Data(bytes).base64EncodedString().lazy.compactMap { character -> Character? in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }

    /// - Returns: nil unless the text is what `encode` gives.
    static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var standard = String(text.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        standard += String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
        guard let bytes = Data(base64Encoded: standard).map(Array.init), encode(bytes) == text else { return nil }
        return bytes
    }
}

/// What `Base64` wraps: bytes, or bytes that may be missing.
public protocol Base64Codable: Hashable, Sendable {
    /// The bytes; nil where there are none.
    var base64Bytes: [UInt8]? { get }
    /// - Returns: nil where bytes are missing that must be there.
    init?(base64Bytes: [UInt8]?)
}

extension [UInt8]: Base64Codable {
    public var base64Bytes: [UInt8]? { self }
    public init?(base64Bytes: [UInt8]?) {
        guard let base64Bytes else { return nil }
        self = base64Bytes
    }
}

extension [UInt8]?: Base64Codable {
    public var base64Bytes: [UInt8]? { self }
    public init?(base64Bytes: [UInt8]?) { self = base64Bytes }
}
