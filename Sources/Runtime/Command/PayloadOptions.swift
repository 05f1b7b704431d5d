import FlotillaIO

/// What `flotilla node run` says of payloads.
enum PayloadOptions {
    static let options: [CommandDescription.Option] = [
        .flag("compress-payloads", "record inputs and results compressed"),
        .value(
            "payload-keys", "FILE",
            "record inputs and results encrypted: a line \"ID KEY\" for each key, of 64 hexadecimal digits; the first encrypts"
        ),
        .value("payload-store", "DIRECTORY", "keep what steps store there; all nodes share it"),
        .value(
            "max-payload", "BYTES",
            "refuse inputs and results above this (default: 4194304, up to \(WorkflowLimits.payloadBytesMax))"),
    ]

    static func coding(_ options: ParsedOptions) throws(UsageError) -> PayloadCoding {
        var codecs: [any PayloadCodec] = options.has("compress-payloads") ? [ZstandardCodec()] : []
        if let path = options.string("payload-keys") {
            let bytes: [UInt8]
            do throws(CommandError) { bytes = try InputFile.read(path) } catch {
                throw options.fail("--payload-keys: \(error)")
            }
            do throws(PayloadError) {
                codecs.append(try codec(keys: String(decoding: bytes, as: UTF8.self)))
            } catch {
                throw options.fail("--payload-keys \(path): \(error.message)")
            }
        }
        return PayloadCoding(codecs)
    }

    /// - Parameter text: a line for each key; what follows a # is a remark.
    static func codec(keys text: String) throws(PayloadError) -> AESGCMCodec {
        var keys: [String: [UInt8]] = [:]
        var current: String?
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" || $0 == "\r" }
            guard !words.isEmpty else { continue }
            // What stands there is not repeated: it is a secret.
            guard words.count == 2, let key = Self.bytes(words[1]) else {
                throw PayloadError(
                    .invalidConfiguration, "line \(index + 1) is not an id and a key of 64 hexadecimal digits")
            }
            let id = String(words[0])
            guard keys.updateValue(key, forKey: id) == nil else {
                throw PayloadError(.invalidConfiguration, "line \(index + 1) names key '\(id)' again")
            }
            current = current ?? id
        }
        guard let current else { throw PayloadError(.invalidConfiguration, "there is no key") }
        return try AESGCMCodec(keys: keys, current: current)
    }

    private static func bytes(_ digits: Substring) -> [UInt8]? {
        let values = digits.utf8.map { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || isLetter($0) ? $0 : 0 }
        guard values.count == 2 * AES256GCM.keyByteCount, !values.contains(0) else { return nil }
        return stride(from: 0, to: values.count, by: 2).compactMap {
            UInt8(String(decoding: values[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "F") ~= byte
    }
}
