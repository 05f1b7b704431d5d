import CCrypto

/// A SHA-256 hash (FIPS 180-4): whoever does not have the bytes cannot make others with the same one.
public struct SHA256Digest: Hashable, Sendable, CustomStringConvertible {
    public static let byteCount = 32

    public let bytes: [UInt8]

    /// Hashes `content`.
    public init(of content: [UInt8]) {
        bytes = [UInt8](unsafeUninitializedCapacity: Self.byteCount) { digest, count in
            content.withUnsafeBytes { content in
                // Without bytes there may be no address, and the library asks for one.
                let start = content.baseAddress ?? UnsafeRawPointer(digest.baseAddress!)
                _ = CCrypto.SHA256(start.assumingMemoryBound(to: UInt8.self), content.count, digest.baseAddress)
            }
            count = Self.byteCount
        }
    }

    /// A hash that was written down; nil if these are not as many bytes as one has.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// In hexadecimal digits, as `sha256sum` prints it.
    public var description: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
