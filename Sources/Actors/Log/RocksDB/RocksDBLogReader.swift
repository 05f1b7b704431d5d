import FlotillaIO
import FlotillaRaft

/// Reads entries of one replica from the database. RocksDB shows a write only once it is durable, and a reader sees the
/// database as it was when it began.
struct RocksDBLogReader {
    let database: RocksDatabase
    let path: String

    func read(_ key: LogKey, from first: LogIndex, bytesMax: Int) throws(LogError) -> [Entry] {
        var entries: [Entry] = []
        var bytes = 0
        let cursor = database.cursor(
            in: RocksFamily.entries.rawValue, from: RocksKey.entry(key, first), before: RocksKey.entriesEnd(key))
        while let (name, value) = try next(cursor) {
            let entry = try Entry(name: name, value: value, of: key, path: path)
            guard entry.index == first + entries.count else {
                if entries.isEmpty { return [] }
                throw .damagedDatabase(path, "entry \(first + entries.count) of \(key) is missing")
            }
            bytes += entry.payload.count + LogTable.entryOverheadBytes
            if bytes > bytesMax && !entries.isEmpty { break }
            entries.append(entry)
        }
        return entries
    }

    private func next(_ cursor: RocksCursor) throws(LogError) -> (key: [UInt8], value: [UInt8])? {
        do { return try cursor.next() } catch { throw .database(error, path: path) }
    }
}

extension Entry {
    /// A member of the family of entries.
    init(name: [UInt8], value: [UInt8], of key: LogKey, path: String) throws(LogError) {
        var reader = ProtobufReader(value)
        do { self = try Entry(from: &reader, unknownFields: .reject) } catch {
            throw .damagedDatabase(path, "an entry of \(key) cannot be decoded (\(error))")
        }
        guard name == RocksKey.entry(key, index) else {
            throw .damagedDatabase(path, "entry \(index) of \(key) stands under another's key")
        }
    }
}
