import FlotillaIO
public import FlotillaRaft

/// A change as the payload of a `.configuration` entry. No bytes at all mean "leave the joint configuration", which is
/// what the core appends by itself.
extension ConfigurationChange {
    public func encodedPayload() -> [UInt8] {
        guard !operations.isEmpty else { return [] }
        var writer = ProtobufWriter()
        encode(into: &writer)
        return writer.bytes
    }

    init(decodingPayload bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        try self.init(from: &reader, unknownFields: .reject)
    }
}
