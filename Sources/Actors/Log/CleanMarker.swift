import FlotillaIO

/// Where the log ended when it was closed in order. It is removed before the log is changed again, so while it exists
/// everything up to that place was acknowledged.
struct CleanMarker: Hashable {
    static let fileName = "clean"

    /// 0 if there was no segment yet.
    var segment: UInt64
    var end: UInt64

    init(segment: UInt64, end: UInt64) {
        self.segment = segment
        self.end = end
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, segment)
        writer.varint(2, end)
        return writer.bytes
    }

    init(_ bytes: [UInt8]) throws(WireError) {
        self.init(segment: 0, end: 0)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: segment = try reader.varint()
            case 2: end = try reader.varint()
            default: throw reader.unknownField(in: "CleanMarker")
            }
        }
    }

    func covers(segment: UInt64, from offset: UInt64) -> Bool {
        self.segment > segment || (self.segment == segment && end > offset)
    }
}
