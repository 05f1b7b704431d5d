import CISAL

/// CRC-32C (Castagnoli, as in iSCSI and SSE4.2), by ISA-L, which picks the fastest code that the processor has.
///
/// `checksum(b, seed: checksum(a))` is the checksum of `a` followed by `b`; so a record's checksum is bound to a place
/// by seeding it with the checksum of that place's name.
public enum CRC32C {
    /// ISA-L counts bytes in a C `int`.
    private static let maximumPiece = 1 << 30

    public static func checksum(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        guard let base = bytes.baseAddress else { return seed }
        var state = ~seed
        var position = 0
        while position < bytes.count {
            let count = min(bytes.count - position, maximumPiece)
            // The parameter lacks its `const`: the function only reads.
            let piece = UnsafeMutableRawPointer(mutating: base + position).assumingMemoryBound(
                to: UInt8.self)
            state = crc32_iscsi(piece, Int32(count), state)
            position += count
        }
        return ~state
    }

    public static func checksum(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { checksum($0, seed: seed) }
    }

    public static func checksum(_ bytes: ArraySlice<UInt8>, seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { checksum($0, seed: seed) }
    }
}
