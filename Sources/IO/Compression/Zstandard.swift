import CZstd

/// Compression by Zstandard (RFC 8878), one frame per call.
public enum Zstandard {
    /// Fast, and within a few percent of the default's ratio on what workflows record.
    public static let level: Int32 = 1

    /// - Returns: nil where the result would not be shorter than `bytes`.
    public static func compress(_ bytes: [UInt8]) -> [UInt8]? {
        var size = 0
        let compressed = [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(bytes.count)) { buffer, count in
            size = bytes.withUnsafeBytes {
                ZSTD_compress(buffer.baseAddress, buffer.count, $0.baseAddress, $0.count, level)
            }
            if ZSTD_isError(size) == 0 { count = size }
        }
        return ZSTD_isError(size) == 0 && size < bytes.count ? compressed : nil
    }

    /// - Parameter sizeLimit: in bytes; what says that it is longer is refused before memory is reserved for it.
    /// - Returns: nil where `bytes` are no such frame, are damaged, or hold more than `sizeLimit`.
    public static func decompress(_ bytes: [UInt8], sizeLimit: Int) -> [UInt8]? {
        let stated = bytes.withUnsafeBytes { ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        // Unknown and broken sizes are the two largest numbers.
        guard stated <= UInt64(sizeLimit) else { return nil }
        var size = 0
        let plain = [UInt8](unsafeUninitializedCapacity: Int(stated)) { buffer, count in
            size = bytes.withUnsafeBytes {
                ZSTD_decompress(buffer.baseAddress, buffer.count, $0.baseAddress, $0.count)
            }
            if ZSTD_isError(size) == 0 { count = size }
        }
        return ZSTD_isError(size) == 0 && plain.count == Int(stated) ? plain : nil
    }
}
