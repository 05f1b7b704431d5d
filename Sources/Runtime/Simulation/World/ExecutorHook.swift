import CSimulationHook

/// Binds a thread to a simulation, so that jobs without an executor (default actors, task groups, `async let`,
/// streams) land on its ready list instead of Swift's global pool.
package enum ExecutorHook {
    /// Once per process, for good: other threads may be inside the hook at any time, so it is never taken out.
    private static let isInstalled: Bool = {
        csimulation_install { world, job in
            guard let world, let job else { return }
            // A job is one pointer; that is how the runtime hands it over.
            current(world).enqueueGlobal(unsafeBitCast(job, to: UnownedJob.self))
        }
        csimulation_install_leave { world, exit, context, work in
            guard let world else { return }
            // The runtime's own pointer, which comes back to it on this thread.
            nonisolated(unsafe) let context = context
            current(world).leave(exit) { work?(context) }
        }
        return true
    }()

    /// Whether tasks that try to leave a simulation are noticed in this process. Not under the thread sanitizer, which
    /// stands in libdispatch's place itself.
    package static var noticesEscapes: Bool { csimulation_notices_leaving() != 0 }

    private static func current(_ world: UnsafeMutableRawPointer) -> SimulationWorld {
        // The pointer was set by `inside` on this thread, whose caller holds the world meanwhile.
        Unmanaged<SimulationWorld>.fromOpaque(world).takeUnretainedValue()
    }

    /// Makes `world` the calling thread's simulation while `body` runs. The world must outlive the call.
    static func inside<Result>(_ world: SimulationWorld, _ body: () -> Result) -> Result {
        precondition(
            isInstalled && csimulation_current() == nil,
            "this thread is inside a simulation already")
        csimulation_set_current(Unmanaged.passUnretained(world).toOpaque())
        defer { csimulation_set_current(nil) }
        return withExtendedLifetime(world, body)
    }

    static func isInside(_ world: SimulationWorld) -> Bool {
        csimulation_current() == Unmanaged.passUnretained(world).toOpaque()
    }

    /// Runs a job as the global pool would: on no executor.
    static func run(_ job: UnownedJob) {
        csimulation_run_job(unsafeBitCast(job, to: UnsafeMutableRawPointer.self))
    }
}

extension SimulationWorld {
    /// A task tries to leave the simulation. A yield stays in it; everything else fails it.
    func leave(_ exit: csimulation_exit, _ work: @escaping @Sendable () -> Void) {
        switch exit {
        case csimulation_yield:
            makeReady(work)
        case csimulation_main_actor:
            // Not run: the main actor's state belongs to another thread.
            fail(
                error(
                    .escape,
                    "a task calls the main actor, which runs in real time; simulated code can use every other actor"))
        default:
            fail(
                error(
                    .escape,
                    """
                    a task sleeps in real time, by Task.sleep or a clock of the system. Use what the simulation drives: \
                    context.sleep in a workflow, the step context's clock in a step, simulation.advance in the scenario
                    """))
            // So that the task can be cancelled and end.
            makeReady(work)
        }
    }
}
