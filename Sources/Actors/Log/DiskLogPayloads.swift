import FlotillaIO
import FlotillaRaft

/// Large payloads, in files of their own. A file is durable before the batch that names it is written, and goes only
/// after the batch that makes its last entry obsolete is durable: whatever a crash leaves of the log finds its files.
extension DiskLog {
    var payloads: PayloadDirectory { PayloadDirectory(path: "\(directory)/\(PayloadDirectory.name)", files: files) }

    /// The payloads that are to be in files and that no file holds yet.
    /// - Parameter logged: of each write of the batch.
    func missingPayloads(of batch: LogBatch, _ logged: [LoggedEntries]) -> [PayloadReference: [UInt8]] {
        var missing: [PayloadReference: [UInt8]] = [:]
        let uses = table.space.payloadUses
        for (write, list) in zip(batch.writes, logged) {
            for payload in list.payloads where !uses.contains(payload.reference) {
                let position = list.entries[0].index.distance(to: payload.index)
                missing[payload.reference] = write.entries[position].payload
            }
        }
        return missing
    }

    /// - Throws: `diskFull`, and then nothing of them is left; anything else ends the use of this log.
    func write(_ missing: [PayloadReference: [UInt8]]) throws(LogError) {
        let references = missing.keys.sorted { $0.fileName < $1.fileName }
        for reference in references {
            do throws(LogError) {
                try growing { () throws(FileError) in try payloads.write(missing[reference] ?? [], as: reference) }
            } catch {
                if error.code == .diskFull { for reference in references { payloads.discard(reference) } }
                throw error
            }
        }
    }

    func removeUnusedPayloads() throws(LogError) {
        for reference in index.withContents({ $0.table.space.payloadUses.takeUnused() }) {
            try io { () throws(FileError) in try payloads.remove(reference) }
        }
    }

    /// Removes the files of writes that never completed, and those that a crash brought back.
    func removeUnnamedPayloads() throws(LogError) {
        _ = index.withContents { $0.table.space.payloadUses.takeUnused() }
        try io { () throws(FileError) in
            for name in try unnamedPayloads() { try files.remove("\(payloads.path)/\(name)") }
        }
    }

    func unnamedPayloads() throws(FileError) -> [String] {
        let named = Set(table.replicas.sorted.flatMap { $0.payloads.map(\.reference.fileName) })
        return try payloads.unnamed { named.contains($0) }
    }
}
