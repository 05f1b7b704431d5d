#include "CAllocations.h"

#include <malloc.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local uint64_t count;

uint64_t callocations_count(void) { return count; }

uint64_t callocations_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static _Atomic uint64_t syncs;

uint64_t callocations_syncs(void) { return syncs; }

// What is defined here goes before the C library's own, for libraries as well.
int fsync(int file) {
  syncs++;
  return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
  syncs++;
  return (int)syscall(SYS_fdatasync, file);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_OTHER_ALLOCATOR 1
#endif
#endif

#if !defined(HAS_OTHER_ALLOCATOR)
// An executable may bring its own allocator (glibc manual, "Replacing malloc"); this one counts, and passes on to
// glibc's under the names by which glibc itself calls it.
#include <errno.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t number, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

void *malloc(size_t size) {
  count++;
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count++;
  return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size) {
  count++;
  return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
  count++;
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  *block = memalign(alignment, size);
  return *block == NULL ? ENOMEM : 0;
}

void free(void *block) { __libc_free(block); }
#endif
