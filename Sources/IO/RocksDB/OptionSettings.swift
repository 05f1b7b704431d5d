import CRocksDB

/// How a database is opened.
struct OptionSettings {
    /// An unfinished record may end a log; every other damage is an error. What RocksDB does by itself, to go on with
    /// what stands before the damage, would lose acknowledged writes in silence.
    private static let toleratesTornTailOnly: Int32 = 0
    private static let informationLogFiles = 4
    private static let informationLogBytes = 1 << 20
    private static let openFiles: Int32 = 256

    let options: OpaquePointer
    private let table: OpaquePointer
    private let cache: OpaquePointer
    private let functions: flotilla_rocksdb

    /// RocksDB ends the process where it has no memory, so what it makes is always there.
    init(_ wanted: RocksDatabase.Options, _ functions: flotilla_rocksdb) {
        self.functions = functions
        cache = functions.cache_create_lru(wanted.cacheBytes)!
        table = functions.block_based_options_create()!
        functions.block_based_options_set_block_cache(table, cache)
        options = functions.options_create()!
        functions.options_set_block_based_table_factory(options, table)
        functions.options_set_create_if_missing(options, 1)
        functions.options_set_create_missing_column_families(options, 1)
        functions.options_set_paranoid_checks(options, 1)
        functions.options_set_wal_recovery_mode(options, Self.toleratesTornTailOnly)
        functions.options_set_write_buffer_size(options, wanted.writeBufferBytes)
        functions.options_set_max_total_wal_size(options, wanted.writeAheadLogBytes)
        functions.options_set_max_open_files(options, Self.openFiles)
        functions.options_set_keep_log_file_num(options, Self.informationLogFiles)
        functions.options_set_max_log_file_size(options, Self.informationLogBytes)
    }

    /// An open database keeps what it needs of them.
    func destroy() {
        functions.options_destroy(options)
        functions.block_based_options_destroy(table)
        functions.cache_destroy(cache)
    }
}
