/// Appends fields in protobuf wire format to a byte array.
///
/// Fields that hold their type's zero value are left out, as proto3 does; `always` variants write them.
/// The same calls give the same bytes, so what is written here may be hashed and compared.
public struct ProtobufWriter: Sendable {
    @usableFromInline var content: [UInt8]

    /// What was written.
    @inlinable public var bytes: [UInt8] { content }

    @inlinable
    public init(reservingCapacity capacity: Int = 0) {
        content = []
        content.reserveCapacity(capacity)
    }

    @inlinable
    public mutating func varint(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        varintAlways(field, value)
    }

    @inlinable
    public mutating func varintAlways(_ field: Int, _ value: UInt64) {
        appendVarint(UInt64(field) << 3)
        appendVarint(value)
    }

    @inlinable
    public mutating func bool(_ field: Int, _ value: Bool) {
        if value { varintAlways(field, 1) }
    }

    /// A signed number in zigzag form (`sint64`).
    @inlinable
    public mutating func signed(_ field: Int, _ value: Int64) {
        varint(field, UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    @inlinable
    public mutating func fixed64(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        appendVarint(UInt64(field) << 3 | 1)
        for shift in stride(from: 0, to: 64, by: 8) { content.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    @inlinable
    public mutating func bytes(_ field: Int, _ value: [UInt8]) {
        if !value.isEmpty { bytesAlways(field, value) }
    }

    /// For members of repeated fields and of `optional`s, where empty means something.
    @inlinable
    public mutating func bytesAlways(_ field: Int, _ value: [UInt8]) {
        appendVarint(UInt64(field) << 3 | 2)
        appendVarint(UInt64(value.count))
        content.append(contentsOf: value)
    }

    @inlinable
    public mutating func string(_ field: Int, _ value: String) {
        if !value.isEmpty { stringAlways(field, value) }
    }

    @inlinable
    public mutating func stringAlways(_ field: Int, _ value: String) {
        appendVarint(UInt64(field) << 3 | 2)
        appendVarint(UInt64(value.utf8.count))
        content.append(contentsOf: value.utf8)
    }

    /// Repeated unsigned numbers, packed.
    @inlinable
    public mutating func packed(_ field: Int, _ values: some Collection<UInt64>) {
        guard !values.isEmpty else { return }
        message(field) { writer in
            for value in values { writer.appendVarint(value) }
        }
    }

    /// A nested message. Nothing is allocated: one byte is kept for the length, and the body moves up where
    /// the length needs more.
    @inlinable
    public mutating func message<Failure: Error>(
        _ field: Int, _ body: (inout ProtobufWriter) throws(Failure) -> Void
    ) throws(Failure) {
        appendVarint(UInt64(field) << 3 | 2)
        let start = content.count
        content.append(0)
        try body(&self)
        let length = content.count - start - 1
        if length < 0x80 {
            content[start] = UInt8(truncatingIfNeeded: length)
        } else {
            widenLength(UInt64(length), at: start)
        }
    }

    /// Begins a nested message whose size is known: the fields behind it have to take so many bytes.
    @inlinable
    public mutating func beginMessage(_ field: Int, byteCount: Int) {
        appendVarint(UInt64(field) << 3 | 2)
        appendVarint(UInt64(byteCount))
    }

    /// What a number takes, in bytes, without its field's tag.
    @inlinable
    public static func varintSize(_ value: UInt64) -> Int { (70 - (value | 1).leadingZeroBitCount) / 7 }

    /// Makes room for a length that takes more than the byte that was kept for it.
    @usableFromInline
    mutating func widenLength(_ length: UInt64, at start: Int) {
        content[start] = UInt8(truncatingIfNeeded: length & 0x7F) | 0x80
        var rest = length >> 7
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 9) { more in
            var count = 0
            while rest != 0 {
                more[count] = UInt8(truncatingIfNeeded: rest & 0x7F) | (rest > 0x7F ? 0x80 : 0)
                rest >>= 7
                count += 1
            }
            content.insert(contentsOf: more[0..<count], at: start + 1)
        }
    }

    @inlinable
    mutating func appendVarint(_ value: UInt64) {
        if value < 0x80 { content.append(UInt8(truncatingIfNeeded: value)) } else { appendLongVarint(value) }
    }

    @usableFromInline
    mutating func appendLongVarint(_ value: UInt64) {
        var value = value
        while value > 0x7F {
            content.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        content.append(UInt8(value))
    }
}
