import FlotillaActors
import FlotillaIO

/// The codecs of a node: what it writes payloads by, and what it can read besides.
///
/// Each codec puts its name before what it made: byte F8, which begins no JSON, the length of the name, the name. So a
/// payload says by itself how it is read, and the codecs of running workflows may change: plain JSON stays readable,
/// and a codec that is not used any more is kept in `alsoReading` until nothing is left that it wrote.
public struct PayloadCoding: Sendable {
    /// JSON as it is.
    public static let json = PayloadCoding()

    private let writing: [any PayloadCodec]
    private let codecs: [String: any PayloadCodec]
    /// What is wrong with it, for the node's start.
    let problem: String?
    /// Where the payloads are that steps store.
    var store: (any PayloadStore)?

    /// - Parameters:
    ///   - writing: in this order; compression belongs before encryption.
    ///   - reading: what earlier configurations wrote by. `ZstandardCodec` is always there.
    public init(_ writing: [any PayloadCodec] = [], alsoReading reading: [any PayloadCodec] = []) {
        self.writing = writing
        var codecs: [String: any PayloadCodec] = [:]
        var problem: String?
        for codec in writing + reading {
            if !(1...Self.nameBytesMax).contains(codec.name.utf8.count) {
                problem = "the name '\(codec.name)' of a codec has not 1 to \(Self.nameBytesMax) bytes"
            }
            if codecs.updateValue(codec, forKey: codec.name) != nil {
                problem =
                    "two codecs are named '\(codec.name)'; one codec takes several keys"
            }
        }
        if writing.count > Self.depthMax { problem = "\(writing.count) codecs; there may be \(Self.depthMax)" }
        let zstandard = ZstandardCodec()
        if codecs[zstandard.name] == nil { codecs[zstandard.name] = zstandard }
        self.codecs = codecs
        self.problem = problem
    }

    static let nameBytesMax = 64
    private static let depthMax = 8
    /// What encoding may add to a payload.
    static let overheadMax = 4 << 10
    /// Neither JSON nor UTF-8 begins so.
    private static let mark: UInt8 = 0xF8

    /// Whether a codec made these bytes.
    static func isEncoded(_ bytes: [UInt8]) -> Bool { bytes.first == mark }

    /// - Throws: `WorkflowError` with `unencodable`.
    func encode(_ plain: [UInt8]) throws(WorkflowError) -> [UInt8] {
        var bytes = plain
        for codec in writing {
            do throws(PayloadError) {
                guard let encoded = try codec.encode(bytes) else { continue }
                let name = Array(codec.name.utf8)
                bytes = [Self.mark, UInt8(name.count)] + name + encoded
            } catch {
                throw WorkflowError(error)
            }
        }
        guard bytes.count <= plain.count + Self.overheadMax else {
            throw WorkflowError(
                .unencodable,
                "the codecs make \(bytes.count) bytes of \(plain.count); they may add \(Self.overheadMax)")
        }
        return bytes
    }

    /// - Returns: the JSON; bytes that no codec made are that.
    /// - Throws: `WorkflowError` with `unknownPayloadKey` or `damagedPayload`.
    func decode(_ payload: [UInt8]) throws(WorkflowError) -> [UInt8] {
        var bytes = payload
        var depth = 0
        while Self.isEncoded(bytes) {
            depth += 1
            guard depth <= Self.depthMax, bytes.count >= 2, bytes.count >= 2 + Int(bytes[1]) else {
                throw WorkflowError(.damagedPayload, "a payload of \(payload.count) bytes is damaged")
            }
            let end = 2 + Int(bytes[1])
            let name = String(decoding: bytes[2..<end], as: UTF8.self)
            guard let codec = codecs[name] else {
                throw WorkflowError(
                    .unknownPayloadKey,
                    "a payload was written by codec '\(name)', which this node does not have; "
                        + "name it in the node's configuration")
            }
            do throws(PayloadError) {
                bytes = try codec.decode(Array(bytes[end...]))
            } catch {
                throw WorkflowError(error)
            }
        }
        return bytes
    }
}

// MARK: What is shown

extension PayloadCoding {
    /// For people: in place of what cannot be read here there is why.
    func shown(_ payload: [UInt8]) -> [UInt8] {
        do throws(WorkflowError) {
            return try decode(payload)
        } catch {
            return JSONValue.object([Self.unreadable: .string(error.message)]).canonicalBytes
        }
    }

    private static let unreadable = "$unreadable"

    /// Whether `shown` made this of a payload that cannot be read.
    static func isUnreadable(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: "{\"\(unreadable)\":".utf8)
    }
}
