// The border between the simulation and Swift's concurrency runtime. Only test processes link this.
#ifndef CSIMULATIONHOOK_H
#define CSIMULATIONHOOK_H

/// Called for each job that has no executor of its own and was made on a thread inside `world`.
typedef void (*csimulation_enqueue)(void *world, void *job);

/// Puts the hook in place for the whole process; threads outside a simulation notice nothing. A hook that was there
/// before keeps getting their jobs. Call once.
void csimulation_install(csimulation_enqueue enqueue);

/// How a task tries to leave a simulation.
enum csimulation_exit { csimulation_sleep, csimulation_yield, csimulation_main_actor };

/// Called when a task on a thread inside `world` hands `work` to the system instead of the simulation. Nobody else
/// runs it. NULL for a timer, whose work is lost.
typedef void (*csimulation_leave)(void *world, enum csimulation_exit exit, void *context, void (*work)(void *));

/// Says who hears of tasks that try to leave. Call once, before any simulation.
void csimulation_install_leave(csimulation_leave leave);

/// Whether such tasks are noticed. Not where something else took the place of libdispatch's calls before: the thread
/// sanitizer does, and a libdispatch that is linked statically.
int csimulation_notices_leaving(void);

/// Which simulation the calling thread is inside of; NULL for none.
void *csimulation_current(void);
void csimulation_set_current(void *world);

/// Runs a job that has no executor on the calling thread, until it suspends or ends.
void csimulation_run_job(void *job);

#endif
