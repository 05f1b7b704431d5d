import FlotillaIO

/// Counts what clients have asked of a node, over all its groups, and what is not recorded yet.
package final class AdmissionGate: Sendable {
    struct Load: Hashable, Sendable {
        var requests = 0
        var bytes = 0
        /// Since the node's start, for either reason.
        var refused: UInt64 = 0
    }

    let limits: AdmissionLimits
    private let state = Lock(Load())

    package init(_ limits: AdmissionLimits = AdmissionLimits()) { self.limits = limits }

    var load: Load { state.withLock { $0 } }

    /// Lets a request in, until `body` has ended.
    /// - Throws: `WorkflowError` with `overloaded` where there is no room for it; what `body` throws.
    func admit<Result>(_ bytes: Int, _ body: () async throws -> Result) async throws -> Result {
        try state.withLock { load in
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

    func countRefusal() { state.withLock { $0.refused += 1 } }
}
