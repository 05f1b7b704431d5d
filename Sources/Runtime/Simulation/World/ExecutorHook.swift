import CSimulationHook

/// Binds a thread to a simulation, so that jobs without an executor (default actors, task groups, `async let`,
/// streams) land on its ready list instead of Swift's global pool.
enum ExecutorHook {
    /// Once per process, for good: other threads may be inside the hook at any time, so it is never taken out.
    private static let isInstalled: Bool = {
        csimulation_install { world, job in
            guard let world, let job else { return }
            // The pointer was set by `enter` on this thread, whose caller holds the world until `leave`.
            let current = Unmanaged<SimulationWorld>.fromOpaque(world).takeUnretainedValue()
            // A job is one pointer; that is how the runtime hands it over.
            current.enqueueGlobal(unsafeBitCast(job, to: UnownedJob.self))
        }
        return true
    }()

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
