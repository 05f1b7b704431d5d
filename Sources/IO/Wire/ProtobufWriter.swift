/// Appends fields in protobuf wire format to a byte array.
///
/// Fields that hold their type's zero value are left out, as proto3 does; `always` variants write them.
/// The same calls give the same bytes, so what is written here may be hashed and compared.
public struct ProtobufWriter: Sendable {
    public private(set) var bytes: [UInt8]

    public init(reservingCapacity capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    public mutating func varint(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        varintAlways(field, value)
    }

    public mutating func varintAlways(_ field: Int, _ value: UInt64) {
        appendVarint(UInt64(field) << 3)
        appendVarint(value)
    }

    public mutating func bool(_ field: Int, _ value: Bool) {
        if value { varintAlways(field, 1) }
    }

    /// A signed number in zigzag form (`sint64`).
    public mutating func signed(_ field: Int, _ value: Int64) {
        varint(field, UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    public mutating func fixed64(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        appendVarint(UInt64(field) << 3 | 1)
        for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    public mutating func bytes(_ field: Int, _ value: [UInt8]) {
        if !value.isEmpty { bytesAlways(field, value) }
    }

    /// For members of repeated fields and of `optional`s, where empty means something.
    public mutating func bytesAlways(_ field: Int, _ value: [UInt8]) {
        appendVarint(UInt64(field) << 3 | 2)
        appendVarint(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    public mutating func string(_ field: Int, _ value: String) {
        if !value.isEmpty { stringAlways(field, value) }
    }

    public mutating func stringAlways(_ field: Int, _ value: String) {
        appendVarint(UInt64(field) << 3 | 2)
        appendVarint(UInt64(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    /// Repeated unsigned numbers, packed.
    public mutating func packed(_ field: Int, _ values: some Collection<UInt64>) {
        guard !values.isEmpty else { return }
        message(field) { writer in
            for value in values { writer.appendVarint(value) }
        }
    }

    /// A nested message. Nothing is allocated: one byte is kept for the length, and the body moves up where
    /// the length needs more.
    public mutating func message<Failure: Error>(
        _ field: Int, _ body: (inout ProtobufWriter) throws(Failure) -> Void
    ) throws(Failure) {
        appendVarint(UInt64(field) << 3 | 2)
        let start = bytes.count
        bytes.append(0)
        try body(&self)
        let length = UInt64(bytes.count - start - 1)
        var rest = length >> 7
        guard rest != 0 else {
            bytes[start] = UInt8(length)
            return
        }
        bytes[start] = UInt8(truncatingIfNeeded: length & 0x7F) | 0x80
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 9) { more in
            var count = 0
            while rest != 0 {
                more[count] = UInt8(truncatingIfNeeded: rest & 0x7F) | (rest > 0x7F ? 0x80 : 0)
                rest >>= 7
                count += 1
            }
            bytes.insert(contentsOf: more[0..<count], at: start + 1)
        }
    }

    private mutating func appendVarint(_ value: UInt64) {
        var value = value
        while value > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }
}
