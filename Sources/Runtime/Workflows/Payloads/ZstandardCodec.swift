import FlotillaIO

/// Compresses payloads by Zstandard where that makes them shorter.
public struct ZstandardCodec: PayloadCodec {
    /// Of shorter ones nothing would be saved.
    private static let bytesMin = 128
    /// What is stored by reference may be longer than what is recorded.
    private static let bytesMax = 1 << 30

    /// The codec, which has nothing to be set.
    public init() {}

    public var name: String { "zstd" }

    public func encode(_ bytes: [UInt8]) -> [UInt8]? {
        (Self.bytesMin...Self.bytesMax).contains(bytes.count) ? Zstandard.compress(bytes) : nil
    }

    public func decode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8] {
        guard let plain = Zstandard.decompress(bytes, sizeLimit: Self.bytesMax) else {
            throw PayloadError(.damaged, "a compressed payload of \(bytes.count) bytes is damaged")
        }
        return plain
    }
}
