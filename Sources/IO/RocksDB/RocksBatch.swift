import CRocksDB

/// Changes that a `RocksDatabase` makes all together or not at all.
public struct RocksBatch: ~Copyable {
    private let functions: flotilla_rocksdb
    private let families: [OpaquePointer]
    let pointer: OpaquePointer

    public init(for database: borrowing RocksDatabase) {
        functions = database.functions
        families = database.families
        pointer = functions.writebatch_create()!
    }

    deinit { functions.writebatch_destroy(pointer) }

    public func put(_ value: [UInt8], for key: [UInt8], in family: Int) {
        key.withChars { key, keyCount in
            value.withChars { functions.writebatch_put_cf(pointer, families[family + 1], key, keyCount, $0, $1) }
        }
    }

    public func remove(_ key: [UInt8], in family: Int) {
        key.withChars { functions.writebatch_delete_cf(pointer, families[family + 1], $0, $1) }
    }

    /// Removes the members with keys from `start` on and before `end`.
    public func remove(from start: [UInt8], before end: [UInt8], in family: Int) {
        start.withChars { start, startCount in
            end.withChars {
                functions.writebatch_delete_range_cf(pointer, families[family + 1], start, startCount, $0, $1)
            }
        }
    }
}
