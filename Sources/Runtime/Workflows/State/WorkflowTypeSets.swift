import FlotillaIO

/// Sets of workflow types that many groups of a node know: nearly all executors have the same, and each set is here once.
package final class WorkflowTypeSets: Sendable {
    /// What executors have had so far, different versions of a program for the most part. Beyond it all are forgotten,
    /// which costs memory alone.
    private static let limit = 256

    private let known = Lock<Set<Set<WorkflowType>>>([])

    package init() {}

    /// An equal set, the same for all who ask.
    func shared(_ types: Set<WorkflowType>) -> Set<WorkflowType> {
        known.withLock { known in
            if known.count >= Self.limit { known = [] }
            return known.insert(types).memberAfterInsert
        }
    }
}

extension WorkflowState {
    /// Keeps no set of types of its own where an equal one is known.
    mutating func shareTypes(in sets: WorkflowTypeSets) {
        for node in executors.map(\.key) {
            guard let capabilities = executors[node]?.capabilities else { continue }
            executors[node]?.capabilities = sets.shared(capabilities)
        }
        knownTypes = sets.shared(knownTypes)
    }
}
