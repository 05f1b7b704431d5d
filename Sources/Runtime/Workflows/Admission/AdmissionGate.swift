import FlotillaIO

/// Counts what clients have asked of a node, over all its groups, and what is not recorded yet; looks at its memory.
package final class AdmissionGate: Sendable {
    struct Load: Hashable, Sendable {
        var requests = 0
        var bytes = 0
        /// Since the node's start, for either reason.
        var refused: UInt64 = 0
        /// Of the process, in bytes, as of the last look.
        var memory = 0
        var looksAgainAt: MonotonicTime?
    }

    /// Between two looks at the memory.
    private static let lookInterval: Duration = .milliseconds(20)

    let limits: AdmissionLimits
    private let now: (@Sendable () -> MonotonicTime)?
    private let memory: @Sendable () -> Int
    private let state = Lock(Load())

    /// - Parameters:
    ///   - now: tells when it is time to look at the memory; nil never looks.
    ///   - memory: what this process takes, in bytes.
    init(
        _ limits: AdmissionLimits = AdmissionLimits(), now: (@Sendable () -> MonotonicTime)? = nil,
        memory: @escaping @Sendable () -> Int = { 0 }
    ) {
        self.limits = limits
        self.now = now
        self.memory = memory
    }

    var load: Load { state.withLock { $0 } }

    /// Lets a request in, until `body` has ended.
    /// - Throws: `WorkflowError` with `overloaded` where there is no room for it; what `body` throws.
    func admit<Result>(_ bytes: Int, _ body: () async throws -> Result) async throws -> Result {
        let now = now?()
        try state.withLock { load in
            try checkMemory(&load, now)
            let hasRoom =
                load.requests < limits.requests
                && (load.requests == 0 || load.bytes + bytes <= limits.requestBytes)
            guard hasRoom else {
                load.refused += 1
                throw WorkflowError(
                    .overloaded,
                    "\(load.requests) requests with \(load.bytes) bytes wait in this node, which takes \(limits.requests) "
                        + "with \(limits.requestBytes) bytes; try again later, or ask another node")
            }
            load.requests += 1
            load.bytes += bytes
        }
        defer {
            state.withLock { load in
                load.requests -= 1
                load.bytes -= bytes
            }
        }
        return try await body()
    }

    private func checkMemory(_ load: inout Load, _ now: MonotonicTime?) throws {
        guard let now else { return }
        if load.looksAgainAt.map({ now >= $0 }) ?? true {
            load.looksAgainAt = now.advanced(by: Self.lookInterval)
            load.memory = memory()
        }
        guard load.memory > limits.memoryBytes else { return }
        load.refused += 1
        throw WorkflowError(
            .overloaded,
            "this node's process takes \(load.memory >> 20) MiB of memory, and takes on nothing more above "
                + "\(limits.memoryBytes >> 20) MiB; try again later, ask another node, or let runs that have ended be removed"
        )
    }

    func countRefusal() { state.withLock { $0.refused += 1 } }
}
