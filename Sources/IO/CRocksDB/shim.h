#include <dlfcn.h>
#include <rocksdb/c.h>
#include <stddef.h>

// The functions of librocksdb that are used. The library is opened when the first database is: linked, it would add
// ten megabytes and its own start to every process, also to those that never open one.
#define FLOTILLA_ROCKSDB_FUNCTIONS(X) \
    X(block_based_options_create) \
    X(block_based_options_destroy) \
    X(block_based_options_set_block_cache) \
    X(cache_create_lru) \
    X(cache_destroy) \
    X(close) \
    X(column_family_handle_destroy) \
    X(flush_wal) \
    X(free) \
    X(get_pinned_cf) \
    X(create_iterator_cf) \
    X(iter_destroy) \
    X(iter_get_error) \
    X(iter_key) \
    X(iter_next) \
    X(iter_seek) \
    X(iter_seek_for_prev) \
    X(iter_valid) \
    X(iter_value) \
    X(open_column_families) \
    X(open_for_read_only_column_families) \
    X(options_create) \
    X(options_destroy) \
    X(options_set_block_based_table_factory) \
    X(options_set_create_if_missing) \
    X(options_set_create_missing_column_families) \
    X(options_set_keep_log_file_num) \
    X(options_set_max_log_file_size) \
    X(options_set_max_open_files) \
    X(options_set_max_total_wal_size) \
    X(options_set_paranoid_checks) \
    X(options_set_wal_recovery_mode) \
    X(options_set_write_buffer_size) \
    X(pinnableslice_destroy) \
    X(pinnableslice_value) \
    X(readoptions_create) \
    X(readoptions_destroy) \
    X(readoptions_set_fill_cache) \
    X(readoptions_set_iterate_upper_bound) \
    X(readoptions_set_verify_checksums) \
    X(write) \
    X(writebatch_create) \
    X(writebatch_delete_cf) \
    X(writebatch_delete_range_cf) \
    X(writebatch_destroy) \
    X(writebatch_put_cf) \
    X(writeoptions_create) \
    X(writeoptions_destroy) \
    X(writeoptions_set_sync)

#define FLOTILLA_ROCKSDB_FIELD(name) __typeof__(rocksdb_##name) *_Nonnull name;
typedef struct flotilla_rocksdb {
    FLOTILLA_ROCKSDB_FUNCTIONS(FLOTILLA_ROCKSDB_FIELD)
} flotilla_rocksdb;
#undef FLOTILLA_ROCKSDB_FIELD

// Returns null, and in `error` what the loader says, if the library or one of its functions is not there. To be called
// once: the table stays for the life of the process, and so does the library.
static inline const flotilla_rocksdb *_Nullable flotilla_rocksdb_load(const char *_Nullable *_Nonnull error) {
    // The first name comes with the development package, the others with the libraries of Debian and Ubuntu releases.
    static const char *const names[] = {
        "librocksdb.so", "librocksdb.so.7.8", "librocksdb.so.8.9", "librocksdb.so.9.10"};
    static flotilla_rocksdb table;
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof *names; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (library == NULL) {
        *error = dlerror();
        return NULL;
    }
#define FLOTILLA_ROCKSDB_LOAD(name) \
    *(void **)&table.name = dlsym(library, "rocksdb_" #name); \
    if (*(void **)&table.name == NULL) { \
        *error = dlerror(); \
        return NULL; \
    }
    FLOTILLA_ROCKSDB_FUNCTIONS(FLOTILLA_ROCKSDB_LOAD)
#undef FLOTILLA_ROCKSDB_LOAD
    return &table;
}
