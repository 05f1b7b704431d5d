#ifndef CALLOCATIONS_H
#define CALLOCATIONS_H

#include <stdint.h>

/// How often the calling thread has asked for memory so far (malloc, calloc, realloc, and the aligned ones).
/// Always 0 under a sanitizer, which has an allocator of its own.
uint64_t callocations_count(void);

/// Bytes that this process has allocated and not freed, of all threads, by the C library's count (mallinfo2).
uint64_t callocations_bytes(void);

/// Calls of fsync and fdatasync by this process so far, libraries that were opened later included.
uint64_t callocations_syncs(void);

#endif
