#include "CSimulationHook.h"

#include <stddef.h>
#include <stdint.h>

// Declared as in swift/Runtime/Concurrency.h of the toolchain, with SWIFT_CC(swift) spelled out.
#define SWIFT_CC __attribute__((swiftcall))
typedef SWIFT_CC void (*enqueue_original)(void *job);
typedef SWIFT_CC void (*enqueue_hook)(void *job, enqueue_original original);
extern enqueue_hook swift_task_enqueueGlobal_hook;
// A SerialExecutorRef is two words; both zero stand for "no executor", as on the global pool.
SWIFT_CC void swift_job_run(void *job, void *executor_identity, uintptr_t executor_implementation);

static _Thread_local void *current_world;
static csimulation_enqueue enqueue_in_world;
static enqueue_hook previous_hook;

static SWIFT_CC void catch_job(void *job, enqueue_original original) {
  if (current_world != NULL) {
    enqueue_in_world(current_world, job);
  } else if (previous_hook != NULL) {
    previous_hook(job, original);
  } else {
    original(job);
  }
}

void csimulation_install(csimulation_enqueue enqueue) {
  enqueue_in_world = enqueue;
  previous_hook = swift_task_enqueueGlobal_hook;
  // Other threads read the variable at any time: what they need is written before it.
  __atomic_store_n(&swift_task_enqueueGlobal_hook, catch_job, __ATOMIC_RELEASE);
}

void *csimulation_current(void) { return current_world; }
void csimulation_set_current(void *world) { current_world = world; }
void csimulation_run_job(void *job) { swift_job_run(job, NULL, 0); }
