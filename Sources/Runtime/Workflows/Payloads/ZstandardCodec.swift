import FlotillaActors
import FlotillaIO

/// Compresses payloads by Zstandard where that makes them shorter.
public struct ZstandardCodec: PayloadCodec {
    /// Of shorter ones nothing would be saved.
    private static let bytesMin = 128

    public init() {}

    public var name: String { "zstd" }

    public func encode(_ bytes: [UInt8]) -> [UInt8]? {
        bytes.count < Self.bytesMin ? nil : Zstandard.compress(bytes)
    }

    public func decode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8] {
        guard let plain = Zstandard.decompress(bytes, sizeLimit: Command.sizeLimit) else {
            throw PayloadError(.damaged, "a compressed payload of \(bytes.count) bytes is damaged")
        }
        return plain
    }
}
