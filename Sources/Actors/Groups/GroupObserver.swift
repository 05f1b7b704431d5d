package import FlotillaRaft

/// Sees what the replicas of a node do, as they do it. Simulations compare replicas with it; production has none.
package protocol GroupObserver: AnyObject, Sendable {
    /// The core has taken its input, and this is what it wants done. Called on the group's loop, before any of it is.
    /// - Parameter boot: tells the lives of one replica apart.
    func replica(_ replica: ReplicaIdentity, boot: UInt64, stepped core: borrowing Raft, into effects: Effects)
}
