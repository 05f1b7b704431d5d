// The border between the simulation and Swift's concurrency runtime. Only test processes link this.
#ifndef CSIMULATIONHOOK_H
#define CSIMULATIONHOOK_H

/// Called for each job that has no executor of its own and was made on a thread inside `world`.
typedef void (*csimulation_enqueue)(void *world, void *job);

/// Puts the hook in place for the whole process; threads outside a simulation notice nothing. A hook that was there
/// before keeps getting their jobs. Call once.
void csimulation_install(csimulation_enqueue enqueue);

/// Which simulation the calling thread is inside of; NULL for none.
void *csimulation_current(void);
void csimulation_set_current(void *world);

/// Runs a job that has no executor on the calling thread, until it suspends or ends.
void csimulation_run_job(void *job);

#endif
