import FlotillaIO
import FlotillaRaft

/// Names a payload that is in a file of its own. Equal payloads have equal names, and so one file.
struct PayloadReference: Hashable {
    var hash: SHA256Digest
    var byteCount: Int

    var fileName: String { hash.description }
}

/// Where the payload of one entry is.
struct FiledPayload: Hashable {
    var index: LogIndex
    var reference: PayloadReference
}

/// Consecutive entries as the log holds them.
struct LoggedEntries {
    /// Those that `payloads` names have an empty payload.
    var entries: [Entry] = []
    /// Ascending.
    var payloads: [FiledPayload] = []

    /// Entries with all of their payloads.
    init(_ entries: [Entry] = []) { self.entries = entries }

    /// - Parameter limit: in bytes; payloads above it go to files.
    init(_ entries: [Entry], payloadFileLimit limit: Int) {
        self.entries = entries
        for position in entries.indices where entries[position].payload.count > limit {
            let payload = entries[position].payload
            let reference = PayloadReference(hash: SHA256Digest(of: payload), byteCount: payload.count)
            payloads.append(FiledPayload(index: entries[position].index, reference: reference))
            self.entries[position].payload = []
        }
    }
}
