#define _GNU_SOURCE
#include "CSimulationHook.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

// What Swift does past its enqueue hook (a yield, a sleep, the main actor) ends in one of three calls of libdispatch.
// The definitions below take their place in the process, as those of a preloaded library would: shared libraries look
// for a symbol in the executable first. They are weak, so that a statically linked libdispatch and the thread sanitizer
// keep their own; then such a task is not noticed here.
#define IN_PLACE_OF_DISPATCH(own) __attribute__((weak, visibility("default"), alias(#own)))

typedef void (*dispatch_work)(void *);
static csimulation_leave leave_world;

void csimulation_install_leave(csimulation_leave leave) { leave_world = leave; }

// Several threads may be first at the same time, and find the same.
static void *original(void **known, const char *name) {
  void *function = __atomic_load_n(known, __ATOMIC_RELAXED);
  if (function == NULL) {
    function = dlsym(RTLD_NEXT, name);
    __atomic_store_n(known, function, __ATOMIC_RELAXED);
  }
  return function;
}

static void async_f(void *queue, void *context, dispatch_work work) {
  void *world = csimulation_current();
  if (world != NULL) {
    // By name: the executable need not have been linked with libdispatch itself.
    int is_main = queue == dlsym(RTLD_DEFAULT, "_dispatch_main_q");
    leave_world(world, is_main ? csimulation_main_actor : csimulation_yield, context, work);
    return;
  }
  static void *known;
  ((void (*)(void *, void *, dispatch_work))original(&known, "dispatch_async_f"))(queue, context, work);
}

static void after_f(uint64_t when, void *queue, void *context, dispatch_work work) {
  void *world = csimulation_current();
  if (world != NULL) {
    leave_world(world, csimulation_sleep, context, work);
    return;
  }
  static void *known;
  ((void (*)(uint64_t, void *, void *, dispatch_work))original(&known, "dispatch_after_f"))(when, queue, context, work);
}

// A sleep with a tolerance is a timer that is made, and then activated.
static void activate(void *object) {
  void *world = csimulation_current();
  if (world != NULL) {
    leave_world(world, csimulation_sleep, NULL, NULL);
    return;
  }
  static void *known;
  ((void (*)(void *))original(&known, "dispatch_activate"))(object);
}

IN_PLACE_OF_DISPATCH(async_f) void dispatch_async_f(void *queue, void *context, dispatch_work work);
IN_PLACE_OF_DISPATCH(after_f) void dispatch_after_f(uint64_t when, void *queue, void *context, dispatch_work work);
IN_PLACE_OF_DISPATCH(activate) void dispatch_activate(void *object);

int csimulation_notices_leaving(void) { return dlsym(RTLD_DEFAULT, "dispatch_async_f") == (void *)async_f; }
