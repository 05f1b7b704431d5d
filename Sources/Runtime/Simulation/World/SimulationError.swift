public import FlotillaIO

/// Why a simulation did not reach its end. The description names the seed: the same seed fails the same way.
public struct SimulationError: Error, Sendable, CustomStringConvertible {
    /// What ended the simulation.
    public enum Code: String, Sendable {
        /// Nothing can run, no timer is pending, and the body has not finished.
        case deadlock
        /// Virtual time came to `SimulationLimits.virtualTime`.
        case timeLimit
        /// More ran than `SimulationLimits.steps`.
        case stepLimit
        /// The body finished, but a timer, a sleeper or a worker's call was still pending.
        case leftover
        /// The body threw; `cause` is what.
        case bodyFailed
        /// A condition did not become true in time.
        case conditionNotMet
        /// No thread could be started for the simulation.
        case noThread
        /// A task would leave for real time or another thread; the message says what to use instead.
        case escape
        /// The scenario asked for what cannot be done, such as a crash of a node that does not run.
        case misuse
        /// A node ended by itself, and the scenario neither started it again nor took note.
        case nodeFailed
        /// Two replicas made different states of the same entries.
        case diverged
        /// Two runs with one seed made different histories.
        case notDeterministic
    }
    /// For programs.
    public var code: Code
    /// For people: what happened.
    public var message: String
    /// Repeats the simulation, with the same body.
    public var seed: UInt64
    /// Virtual time at the end.
    public var time: MonotonicTime
    /// What the body threw; nil where something else ended the simulation.
    public var cause: (any Error)?

    public var description: String {
        "\(code.rawValue) at virtual time \(time.nanoseconds) ns, seed \(seed): \(message)"
    }
}

/// Bounds that end a simulation with a named error instead of letting it run for ever.
public struct SimulationLimits: Sendable {
    /// How far virtual time may go.
    public var virtualTime: Duration
    /// How many jobs, callbacks and timers may run.
    public var steps: UInt64
    /// An hour of virtual time and twenty million steps, but for what is named.
    public init(virtualTime: Duration = .seconds(3600), steps: UInt64 = 20_000_000) {
        self.virtualTime = virtualTime
        self.steps = steps
    }
}

/// What a simulation that reached its end has to show.
public struct SimulationResult<Value: Sendable>: Sendable {
    /// What the body returned.
    public var value: Value
    /// What it ran with.
    public var seed: UInt64
    /// Equal for two runs that made the same decisions in the same order at the same virtual times.
    public var traceHash: UInt64
    /// How many jobs, callbacks and timers ran.
    public var steps: UInt64
    /// Virtual time that passed.
    public var elapsed: Duration
}
