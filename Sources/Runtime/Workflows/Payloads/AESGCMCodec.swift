import FlotillaIO

/// Encrypts payloads by AES-256-GCM: logs, snapshots and what is replicated hold no plain payload then. See
/// `PayloadCodec` for what is none; requests that one node passes on to another are not encrypted by this.
///
/// ```swift
/// configuration.codec = PayloadCoding([ZstandardCodec(), try AESGCMCodec(keys: ["2026": new, "2025": old], current: "2026")])
/// ```
/// To change the key, first give all nodes the new one, then make it the current one. The old one stays until no run
/// is left that was started with it.
///
/// The nonce is derived from the payload by a key of its own (as SIV modes do, RFC 5297), so that equal payloads are
/// equal bytes: a repeated start is recognised, and whoever reads the disk sees which payloads are equal, and how long
/// they are, but nothing else of them.
///
/// Its bytes: the length of the key's id, the id, the nonce, the encrypted payload, the tag. The id is authenticated.
public struct AESGCMCodec: PayloadCodec {
    private struct Key: Sendable {
        let cipher: AES256GCM
        let nonceKey: [UInt8]
    }

    private let keys: [String: Key]
    private let current: String

    public var name: String { "aes-256-gcm" }

    /// - Parameters:
    ///   - keys: by ids of 1 to 64 bytes, which are written beside what they encrypt; each of 32 random bytes.
    ///   - current: the id of the one that encrypts.
    /// - Throws: `PayloadError` with `invalidConfiguration`.
    public init(keys: [String: [UInt8]], current: String) throws(PayloadError) {
        var known: [String: Key] = [:]
        for (id, bytes) in keys.sorted(by: { $0.key < $1.key }) {
            guard (1...PayloadCoding.nameBytesMax).contains(id.utf8.count) else {
                throw PayloadError(.invalidConfiguration, "the id '\(id)' of a key has not 1 to 64 bytes")
            }
            let cipherKey = HMACSHA256.code(of: Array("flotilla payload encryption".utf8), key: bytes)
            guard bytes.count == AES256GCM.keyByteCount, let cipher = AES256GCM(key: cipherKey) else {
                throw PayloadError(.invalidConfiguration, "key '\(id)' has \(bytes.count) bytes, AES-256 takes 32")
            }
            known[id] = Key(
                cipher: cipher, nonceKey: HMACSHA256.code(of: Array("flotilla payload nonce".utf8), key: bytes))
        }
        guard known[current] != nil else {
            throw PayloadError(.invalidConfiguration, "the current key '\(current)' is not among the keys")
        }
        self.keys = known
        self.current = current
    }

    public func encode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8]? {
        guard let key = keys[current] else { preconditionFailure("there is no key '\(current)'") }
        let nonce = Array(HMACSHA256.code(of: bytes, key: key.nonceKey).prefix(AES256GCM.nonceByteCount))
        let header = [UInt8(current.utf8.count)] + Array(current.utf8)
        guard let sealed = key.cipher.seal(bytes, nonce: nonce, header: header) else {
            throw PayloadError(.unencodable, "a payload of \(bytes.count) bytes could not be encrypted")
        }
        return header + nonce + sealed
    }

    public func decode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8] {
        let damaged = PayloadError(.damaged, "an encrypted payload of \(bytes.count) bytes is damaged")
        guard let length = bytes.first.map(Int.init), bytes.count >= 1 + length + AES256GCM.nonceByteCount else {
            throw damaged
        }
        let id = String(decoding: bytes[1..<1 + length], as: UTF8.self)
        guard let key = keys[id] else {
            throw PayloadError(
                .unknownKey,
                "a payload was encrypted with key '\(id)', which this node does not have; add it to the "
                    + "node's keys and start the node again")
        }
        let nonceEnd = 1 + length + AES256GCM.nonceByteCount
        let plain = key.cipher.open(
            Array(bytes[nonceEnd...]), nonce: Array(bytes[1 + length..<nonceEnd]), header: Array(bytes[...length]))
        guard let plain else {
            throw PayloadError(
                .damaged,
                "a payload does not open with key '\(id)': it is damaged, or the key is another one of that id")
        }
        return plain
    }
}
