import FlotillaIO

/// A place in a distributed trace, as W3C Trace Context (https://www.w3.org/TR/trace-context/) passes it on: which trace,
/// and under which span.
public struct TraceContext: Hashable, Codable, Sendable, CustomStringConvertible {
    /// 32 hexadecimal digits in lower case.
    public let traceID: String
    /// 16 of them.
    public let spanID: String
    /// Bit 0: somebody records the trace.
    public let flags: UInt8
    /// What vendors add; passed on as it is.
    public let tracestate: String

    /// Longer ones need not be passed on, and are not.
    static let tracestateBytesMax = 512

    /// - Parameters:
    ///   - traceparent: as in the HTTP header, such as
    ///     `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; of a version that is not known yet what this one knows.
    ///   - tracestate: as in the other header.
    /// - Returns: nil for what is no traceparent: whoever gets one begins a trace of its own.
    public init?(traceparent: String, tracestate: String = "") {
        let text = Array(traceparent.utf8)
        let isDigit: (UInt8) -> Bool = {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
        let dashes = [2, 35, 52]
        guard text.count >= 55,
            text.prefix(55).indices.allSatisfy({
                dashes.contains($0) ? text[$0] == UInt8(ascii: "-") : isDigit(text[$0])
            })
        else { return nil }
        func part(_ range: Range<Int>) -> String { String(decoding: text[range], as: UTF8.self) }
        let version = part(0..<2)
        guard version != "ff", text.count == 55 || version != "00" && text[55] == UInt8(ascii: "-"),
            let flags = UInt8(part(53..<55), radix: 16)
        else { return nil }
        traceID = part(3..<35)
        spanID = part(36..<52)
        guard traceID.contains(where: { $0 != "0" }), spanID.contains(where: { $0 != "0" }) else { return nil }
        self.flags = flags
        let mayPass =
            tracestate.utf8.count <= Self.tracestateBytesMax
            && tracestate.utf8.allSatisfy { (UInt8(ascii: " ")...UInt8(ascii: "~")).contains($0) }
        self.tracestate = mayPass ? tracestate : ""
    }

    private init(traceID: String, spanID: String, flags: UInt8, tracestate: String) {
        (self.traceID, self.spanID, self.flags, self.tracestate) = (traceID, spanID, flags, tracestate)
    }

    /// Whether somebody wants to see the trace; a `SpanSink` is told of no others.
    public var isSampled: Bool { flags & 1 == 1 }

    /// What goes into the header of a request that belongs to this span.
    public var traceparent: String {
        "00-\(traceID)-\(spanID)-" + (flags < 16 ? "0" : "") + String(flags, radix: 16)
    }

    public var description: String { traceparent }

    /// A span below this one, whose id follows from its name: so whoever computes it, finds the same.
    func span(named name: String) -> TraceContext {
        let digits = SHA256Digest(of: Array("\(traceID)/\(name)".utf8)).description.prefix(16)
        // Zero is no id.
        let id = digits.allSatisfy { $0 == "0" } ? "0000000000000001" : String(digits)
        return TraceContext(traceID: traceID, spanID: id, flags: flags, tracestate: tracestate)
    }
}

extension TraceContext {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, traceparent)
        writer.string(2, tracestate)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var (traceparent, tracestate) = ("", "")
        while let field = try reader.next() {
            switch field {
            case 1: traceparent = try reader.string()
            case 2: tracestate = try reader.string()
            default: throw reader.unknownField(in: "a trace context")
            }
        }
        guard let context = TraceContext(traceparent: traceparent, tracestate: tracestate) else {
            throw WireError(.invalidValue, "'\(traceparent)' is no traceparent")
        }
        self = context
    }
}
