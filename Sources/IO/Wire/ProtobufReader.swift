/// Why bytes are not the message that was expected.
public struct WireError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case truncated, varintTooLong, invalidTag, wrongWireType, invalidText, invalidValue, unknownField, tooDeep
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}

/// Reads protobuf wire format field by field. It never traps, whatever the bytes.
///
/// ```swift
/// while let field = try reader.next() {
///     switch field {
///     case 1: index = try reader.varint()
///     default: try reader.skip()
///     }
/// }
/// ```
public struct ProtobufReader: Sendable {
    @usableFromInline let buffer: [UInt8]
    @usableFromInline var position: Int
    @usableFromInline let end: Int
    @usableFromInline var wireType: UInt64 = 0
    @usableFromInline var field = 0

    @inlinable
    public init(_ bytes: [UInt8]) {
        buffer = bytes
        position = 0
        end = bytes.count
    }

    @inlinable
    init(_ bytes: [UInt8], from position: Int, to end: Int) {
        buffer = bytes
        self.position = position
        self.end = end
    }

    @inlinable
    public var isAtEnd: Bool { position == end }

    /// The number of the next field, or nil at the end. Its value must then be read or skipped.
    @inlinable
    public mutating func next() throws(WireError) -> Int? {
        guard position < end else { return nil }
        let tag = try rawVarint()
        wireType = tag & 7
        guard tag >> 3 > 0, tag >> 3 < 1 << 29 else {
            throw invalidTag(tag)
        }
        field = Int(tag >> 3)
        return field
    }

    @inlinable
    public mutating func varint() throws(WireError) -> UInt64 {
        try expect(0)
        return try rawVarint()
    }

    @inlinable
    public mutating func bool() throws(WireError) -> Bool { try varint() != 0 }

    /// A number that must fit 32 bits, for enums and small counts.
    @inlinable
    public mutating func uint32() throws(WireError) -> UInt32 {
        let value = try varint()
        guard let small = UInt32(exactly: value) else { throw tooLarge(value) }
        return small
    }

    @inlinable
    public mutating func signed() throws(WireError) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    public mutating func fixed64() throws(WireError) -> UInt64 {
        try expect(1)
        guard end - position >= 8 else { throw truncated() }
        var value: UInt64 = 0
        for offset in 0..<8 { value |= UInt64(buffer[position + offset]) << (8 * offset) }
        position += 8
        return value
    }

    @inlinable
    public mutating func bytes() throws(WireError) -> [UInt8] {
        let range = try lengthDelimited()
        return buffer.withUnsafeBufferPointer { Array(UnsafeBufferPointer(rebasing: $0[range])) }
    }

    public mutating func string() throws(WireError) -> String {
        let range = try lengthDelimited()
        let text = buffer.withUnsafeBufferPointer { bytes in
            String(validating: UnsafeBufferPointer(rebasing: bytes[range]), as: UTF8.self)
        }
        guard let text else {
            throw WireError(.invalidText, "field \(field) is not UTF-8")
        }
        return text
    }

    /// A reader of the nested message; it shares the bytes.
    @inlinable
    public mutating func message() throws(WireError) -> ProtobufReader {
        let range = try lengthDelimited()
        return ProtobufReader(buffer, from: range.lowerBound, to: range.upperBound)
    }

    /// One member of a repeated number, packed or not; appends all that it holds.
    public mutating func packed(into values: inout [UInt64]) throws(WireError) {
        guard wireType == 2 else {
            values.append(try varint())
            return
        }
        var inner = try message()
        while !inner.isAtEnd { values.append(try inner.rawVarint()) }
    }

    /// Passes over the field's value: what a newer sender added.
    public mutating func skip() throws(WireError) {
        switch wireType {
        case 0: _ = try rawVarint()
        case 1: _ = try fixed64()
        case 2: _ = try lengthDelimited()
        case 5:
            guard end - position >= 4 else { throw truncated() }
            position += 4
        default: throw WireError(.wrongWireType, "field \(field) has wire type \(wireType)")
        }
    }

    /// For replicated data: a field that this version does not know must stop the replica, not be skipped.
    public func unknownField(in what: String) -> WireError {
        WireError(.unknownField, "field \(field) of \(what) is unknown to this version")
    }

    @inlinable
    func expect(_ type: UInt64) throws(WireError) {
        guard wireType == type else { throw wrongWireType(type) }
    }

    @inlinable
    mutating func lengthDelimited() throws(WireError) -> Range<Int> {
        try expect(2)
        let length = try rawVarint()
        guard length <= UInt64(end - position) else { throw truncated() }
        let start = position
        position += Int(length)
        return start..<position
    }

    @inlinable
    mutating func rawVarint() throws(WireError) -> UInt64 {
        if position < end {
            let byte = buffer[position]
            if byte < 0x80 {
                position += 1
                return UInt64(byte)
            }
        }
        return try longVarint()
    }

    @usableFromInline
    mutating func longVarint() throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end {
            let byte = buffer[position]
            position += 1
            guard shift < 63 || byte <= 1 else {
                throw WireError(.varintTooLong, "more than 64 bits before byte \(position)")
            }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw truncated()
    }

    @usableFromInline
    func truncated() -> WireError {
        WireError(.truncated, "field \(field) ends after byte \(end)")
    }

    @usableFromInline
    func wrongWireType(_ expected: UInt64) -> WireError {
        WireError(.wrongWireType, "field \(field) has wire type \(wireType), not \(expected)")
    }

    @usableFromInline
    func invalidTag(_ tag: UInt64) -> WireError {
        WireError(.invalidTag, "field number \(tag >> 3) at byte \(position)")
    }

    @usableFromInline
    func tooLarge(_ value: UInt64) -> WireError {
        WireError(.invalidValue, "field \(field) holds \(value), more than 32 bits")
    }
}
