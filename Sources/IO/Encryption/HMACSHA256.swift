import CCrypto

/// HMAC with SHA-256 (RFC 2104): a hash that only those with the key can compute.
public enum HMACSHA256 {
    /// - Returns: 32 bytes.
    public static func code(of content: [UInt8], key: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: SHA256Digest.byteCount) { buffer, count in
            var length: UInt32 = 0
            let result = HMAC(EVP_sha256(), key, Int32(key.count), content, content.count, buffer.baseAddress, &length)
            precondition(result != nil && Int(length) == SHA256Digest.byteCount, "OpenSSL has no HMAC-SHA256")
            count = Int(length)
        }
    }
}
