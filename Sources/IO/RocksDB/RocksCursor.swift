import CRocksDB

/// A reader of one column family, which sees it as it was when the reader was made. One thread at a time; it must go
/// before the database is closed.
public final class RocksCursor {
    private let database: RocksDatabase
    private let options: OpaquePointer
    private let iterator: OpaquePointer
    /// RocksDB keeps a pointer to it.
    private let end: UnsafeMutableBufferPointer<UInt8>
    private let start: [UInt8]

    init(_ database: RocksDatabase, _ family: Int, from start: [UInt8], before end: [UInt8]?) {
        let functions = database.functions
        self.database = database
        self.start = start
        let bound = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: end?.count ?? 0)
        _ = bound.initialize(from: end ?? [])
        self.end = bound
        let options = functions.readoptions_create()!
        functions.readoptions_set_verify_checksums(options, 1)
        // Long reads are rare, and not repeated soon.
        functions.readoptions_set_fill_cache(options, 0)
        if end != nil {
            bound.withMemoryRebound(to: CChar.self) {
                functions.readoptions_set_iterate_upper_bound(options, $0.baseAddress, $0.count)
            }
        }
        let iterator = functions.create_iterator_cf(database.database, options, database.families[family + 1])!
        start.withChars { functions.iter_seek(iterator, $0, $1) }
        self.options = options
        self.iterator = iterator
    }

    deinit {
        database.functions.iter_destroy(iterator)
        database.functions.readoptions_destroy(options)
        end.deallocate()
    }

    /// The next member; nil behind the last one.
    public func next() throws(RocksDBError) -> (key: [UInt8], value: [UInt8])? {
        guard let member = try current() else { return nil }
        database.functions.iter_next(iterator)
        return member
    }

    /// The last of the members; the cursor is of no use afterwards.
    func last() throws(RocksDBError) -> (key: [UInt8], value: [UInt8])? {
        // The bound itself is not among the members, so a seek that meets its key stops before it.
        Array(end).withChars { database.functions.iter_seek_for_prev(iterator, $0, $1) }
        guard let member = try current(), !member.key.lexicographicallyPrecedes(start) else { return nil }
        return member
    }

    private func current() throws(RocksDBError) -> (key: [UInt8], value: [UInt8])? {
        let functions = database.functions
        guard functions.iter_valid(iterator) != 0 else {
            // Also where the members end: only now it is known whether they ended in an error.
            try database.library.call { functions.iter_get_error(iterator, $0) }
            return nil
        }
        var count = 0
        let key = functions.iter_key(iterator, &count)
        let keyBytes = Array(UnsafeRawBufferPointer(start: key, count: count))
        let value = functions.iter_value(iterator, &count)
        return (keyBytes, Array(UnsafeRawBufferPointer(start: value, count: count)))
    }
}

extension [UInt8] {
    /// The bytes as C takes them.
    func withChars<R>(_ body: (UnsafePointer<CChar>?, Int) -> R) -> R {
        withUnsafeBytes { body($0.bindMemory(to: CChar.self).baseAddress, $0.count) }
    }
}
