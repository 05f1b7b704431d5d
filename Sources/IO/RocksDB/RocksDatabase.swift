import CRocksDB
import Glibc

/// A RocksDB database with a fixed list of column families, by which all calls name them: 0 is the first of the list.
///
/// Calls block, and any thread may make them; `close` must be the last one.
/// `@unchecked Sendable`: RocksDB synchronises itself, and the pointers here never change.
public final class RocksDatabase: @unchecked Sendable {
    /// What a database may use of memory and disk.
    public struct Options: Hashable, Sendable {
        /// Bytes written to a column family before they leave memory for a file.
        public var writeBufferBytes = 16 << 20
        /// Bytes of files that are kept in memory for readers.
        public var cacheBytes = 8 << 20
        /// Bytes of the write-ahead log above which the column families that hold it back are flushed.
        public var writeAheadLogBytes: UInt64 = 128 << 20
        public init() {}
    }

    let functions: flotilla_rocksdb
    let library: RocksDBLibrary
    let database: OpaquePointer
    let families: [OpaquePointer]

    /// Opens a database, and creates it and its column families if need be.
    /// - Parameters:
    ///   - isReadOnly: changes nothing on disk, and fails if there is no database.
    public init(
        path: String, columnFamilies: [String], options: Options = Options(), isReadOnly: Bool = false
    ) throws(RocksDBError) {
        library = try RocksDBLibrary.load()
        functions = library.functions.pointee
        let settings = OptionSettings(options, functions)
        defer { settings.destroy() }
        // RocksDB insists on this one, which holds nothing here.
        let names = ["default"] + columnFamilies
        let copies = names.map { strdup($0)! }
        defer { for copy in copies { free(copy) } }
        var handles = [OpaquePointer?](repeating: nil, count: names.count)
        let opened = try library.call { [functions] error in
            let texts: [UnsafePointer<CChar>?] = copies.map { UnsafePointer($0) }
            let all = [OpaquePointer?](repeating: settings.options, count: names.count)
            let count = Int32(names.count)
            return isReadOnly
                ? functions.open_for_read_only_column_families(
                    settings.options, path, count, texts, all, &handles, 0, error)
                : functions.open_column_families(
                    settings.options, path, count, texts, all, &handles, error)
        }
        guard let opened else { preconditionFailure("RocksDB opened nothing and said nothing") }
        database = opened
        families = handles.compactMap(\.self)
        precondition(families.count == names.count, "RocksDB opened \(families.count) of \(names)")
    }

    public func close() {
        for family in families { functions.column_family_handle_destroy(family) }
        functions.close(database)
    }

    // MARK: Writing

    /// Writes all of `batch` or nothing.
    /// - Parameter isSynced: durable on return; else it is after the next `syncWriteAheadLog`, or a later write that
    ///   is synced.
    public func write(_ batch: borrowing RocksBatch, isSynced: Bool) throws(RocksDBError) {
        let options = functions.writeoptions_create()
        defer { functions.writeoptions_destroy(options) }
        functions.writeoptions_set_sync(options, isSynced ? 1 : 0)
        let pointer = batch.pointer
        try library.call { functions.write(database, options, pointer, $0) }
    }

    /// Makes everything durable that was written.
    public func syncWriteAheadLog() throws(RocksDBError) {
        try library.call { functions.flush_wal(database, 1, $0) }
    }

    // MARK: Reading

    public func value(of key: [UInt8], in family: Int) throws(RocksDBError) -> [UInt8]? {
        let options = functions.readoptions_create()
        defer { functions.readoptions_destroy(options) }
        let slice = try library.call { error in
            key.withChars { functions.get_pinned_cf(database, options, families[family + 1], $0, $1, error) }
        }
        guard let slice else { return nil }
        defer { functions.pinnableslice_destroy(slice) }
        var count = 0
        let bytes = functions.pinnableslice_value(slice, &count)
        return Array(UnsafeRawBufferPointer(start: bytes, count: count))
    }

    /// The members with keys from `start` on and before `end`, in ascending order. Every block that is read is checked
    /// against its checksum.
    /// - Parameter end: nil for no end.
    public func cursor(in family: Int, from start: [UInt8] = [], before end: [UInt8]? = nil) -> RocksCursor {
        RocksCursor(self, family, from: start, before: end)
    }

    /// The last member whose key is in `start ..< end`.
    public func last(
        in family: Int, from start: [UInt8], before end: [UInt8]
    ) throws(RocksDBError) -> (key: [UInt8], value: [UInt8])? {
        try RocksCursor(self, family, from: start, before: end).last()
    }
}
