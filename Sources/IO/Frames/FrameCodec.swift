/// How a payload travels: 8 bytes of header, then the payload.
///
/// | bytes | content |
/// |---|---|
/// | 0..<4 | length of the payload, little endian |
/// | 4..<8 | CRC-32C of the payload, little endian |
///
/// TCP's own checksum misses one damaged segment in about 65,000 that reach it; consensus must not
/// see one.
package enum FrameCodec {
    package static let headerBytes = 8
    /// A frame that says it is longer is an error of the connection: what is bigger travels in
    /// pieces.
    package static let payloadBytesMax = 16 * 1024 * 1024

    package static func header(for payload: [UInt8]) -> [UInt8] {
        precondition(payload.count <= payloadBytesMax, "a frame of \(payload.count) bytes")
        let length = UInt32(payload.count)
        let checksum = CRC32C.checksum(payload)
        return [
            UInt8(truncatingIfNeeded: length), UInt8(truncatingIfNeeded: length >> 8),
            UInt8(truncatingIfNeeded: length >> 16), UInt8(truncatingIfNeeded: length >> 24),
            UInt8(truncatingIfNeeded: checksum), UInt8(truncatingIfNeeded: checksum >> 8),
            UInt8(truncatingIfNeeded: checksum >> 16), UInt8(truncatingIfNeeded: checksum >> 24),
        ]
    }
}

/// Finds the frames in a stream of bytes that arrives in pieces. It never traps, whatever the
/// bytes; after its first error it gives that error again, since nothing behind it can be trusted.
package struct FrameDecoder: Sendable {
    /// How much is reserved on the word of a header alone.
    private static let reservedBytesMax = 64 * 1024

    private var header: UInt64 = 0
    private var headerCount = 0
    private var payload: [UInt8] = []
    private var failure: NetworkError?

    package init() {}

    /// Whether a frame has begun and not ended.
    package var isWithinFrame: Bool { headerCount > 0 }

    /// The next frame's payload, or nil when `bytes` are used up.
    /// - Parameter position: where to go on in `bytes`; moves.
    package mutating func next(
        in bytes: RawSpan, at position: inout Int
    ) throws(NetworkError) -> [UInt8]? {
        if let failure { throw failure }
        while headerCount < FrameCodec.headerBytes {
            guard position < bytes.byteCount else { return nil }
            let byte = bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)
            header |= UInt64(byte) << UInt64(8 * headerCount)
            headerCount += 1
            position += 1
            if headerCount == FrameCodec.headerBytes { try checkLength() }
        }
        let missing = length - payload.count
        let count = min(missing, bytes.byteCount - position)
        if count > 0 {
            bytes.extracting(position..<position + count).withUnsafeBytes {
                payload.append(contentsOf: $0)
            }
            position += count
        }
        guard count == missing else { return nil }
        return try take()
    }

    /// The stream's end: an error if it cuts a frame.
    package func finish() throws(NetworkError) {
        guard failure == nil, isWithinFrame else { return }
        throw NetworkError(
            .frameCut,
            headerCount < FrameCodec.headerBytes
                ? "the stream ended \(headerCount) bytes into a frame's header"
                : "the stream ended after \(payload.count) of a frame's \(length) bytes")
    }

    private var length: Int { Int(header & 0xFFFF_FFFF) }

    private mutating func checkLength() throws(NetworkError) {
        guard length <= FrameCodec.payloadBytesMax else {
            throw fail(
                NetworkError(
                    .frameTooLong,
                    "a frame says it has \(length) bytes; the limit is \(FrameCodec.payloadBytesMax)"
                ))
        }
        payload.reserveCapacity(min(length, Self.reservedBytesMax))
    }

    private mutating func take() throws(NetworkError) -> [UInt8] {
        let expected = UInt32(truncatingIfNeeded: header >> 32)
        let actual = CRC32C.checksum(payload)
        guard actual == expected else {
            throw fail(
                NetworkError(
                    .frameDamaged,
                    "a frame of \(length) bytes has checksum \(actual), its header says \(expected)"
                ))
        }
        header = 0
        headerCount = 0
        defer { payload = [] }
        return payload
    }

    private mutating func fail(_ error: NetworkError) -> NetworkError {
        failure = error
        payload = []
        return error
    }
}
