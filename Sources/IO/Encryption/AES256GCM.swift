import CCrypto

/// Authenticated encryption by AES-256 in Galois/Counter Mode (NIST SP 800-38D): whoever does not have the key neither
/// reads nor changes what is sealed.
public struct AES256GCM: Sendable {
    public static let keyByteCount = 32
    public static let nonceByteCount = 12
    public static let tagByteCount = 16

    private let key: [UInt8]

    /// - Returns: nil unless the key has `keyByteCount` bytes.
    public init?(key: [UInt8]) {
        guard key.count == Self.keyByteCount else { return nil }
        self.key = key
    }

    /// - Parameters:
    ///   - nonce: `nonceByteCount` bytes, never the same for two different texts under one key.
    ///   - header: is not hidden, and has to be the same to open it.
    /// - Returns: as many bytes as `plain`, and the tag behind them; nil where the library has no memory.
    public func seal(_ plain: [UInt8], nonce: [UInt8], header: [UInt8]) -> [UInt8]? {
        precondition(nonce.count == Self.nonceByteCount, "a nonce of \(nonce.count) bytes")
        return withContext { context in
            guard EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1 else { return nil }
            var length: Int32 = 0
            guard EVP_EncryptUpdate(context, nil, &length, header, Int32(header.count)) == 1 else { return nil }
            var sealed = [UInt8](repeating: 0, count: plain.count + Self.tagByteCount)
            let isSealed = sealed.withUnsafeMutableBufferPointer { buffer in
                guard let base = buffer.baseAddress,
                    plain.isEmpty || EVP_EncryptUpdate(context, base, &length, plain, Int32(plain.count)) == 1,
                    EVP_EncryptFinal_ex(context, base + plain.count, &length) == 1
                else { return false }
                return EVP_CIPHER_CTX_ctrl(
                    context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagByteCount), base + plain.count) == 1
            }
            return isSealed ? sealed : nil
        }
    }

    /// - Parameter sealed: what `seal` returned.
    /// - Returns: nil unless it was sealed so: with this key, nonce and header.
    public func open(_ sealed: [UInt8], nonce: [UInt8], header: [UInt8]) -> [UInt8]? {
        guard nonce.count == Self.nonceByteCount, sealed.count >= Self.tagByteCount else { return nil }
        let count = sealed.count - Self.tagByteCount
        var tag = Array(sealed[count...])
        return withContext { context in
            guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1 else { return nil }
            var length: Int32 = 0
            guard EVP_DecryptUpdate(context, nil, &length, header, Int32(header.count)) == 1,
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagByteCount), &tag) == 1
            else { return nil }
            // One byte more than there are: an empty array may have no address.
            var plain = [UInt8](repeating: 0, count: count + 1)
            let isOpen = plain.withUnsafeMutableBufferPointer { buffer in
                guard let base = buffer.baseAddress else { return false }
                guard count == 0 || EVP_DecryptUpdate(context, base, &length, sealed, Int32(count)) == 1 else {
                    return false
                }
                return EVP_DecryptFinal_ex(context, base + count, &length) == 1
            }
            guard isOpen else { return nil }
            plain.removeLast()
            return plain
        }
    }

    private func withContext(_ body: (OpaquePointer) -> [UInt8]?) -> [UInt8]? {
        guard let context = EVP_CIPHER_CTX_new() else { return nil }
        defer { EVP_CIPHER_CTX_free(context) }
        return body(context)
    }
}
