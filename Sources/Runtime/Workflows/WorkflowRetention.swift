/// Which runs a cluster keeps after their end. The others are removed with everything that they recorded: they are not
/// found any more, and their workflow ids can be used again.
///
/// The node that leads the workflows' group applies its own configuration, so all nodes should have the same. Ages go
/// by the group's time, which is the highest that any node's wall clock has shown to it.
public struct WorkflowRetention: Hashable, Codable, Sendable {
    /// A run that ended so long ago is removed; nil keeps runs of any age. 30 days by default.
    public var age: Duration?
    /// Where more runs have ended, those that ended first are removed; nil keeps any number. 100,000 by default: runs
    /// that have ended stay in memory and in snapshots.
    public var count: Int?

    /// - Parameters:
    ///   - age: not negative.
    ///   - count: not negative.
    public init(age: Duration? = .seconds(30 * 86_400), count: Int? = 100_000) {
        precondition(age.map { $0 >= .zero } ?? true, "an age of \(age ?? .zero) is negative")
        precondition(count.map { $0 >= 0 } ?? true, "a count of \(count ?? 0) is negative")
        self.age = age
        self.count = count
    }

    /// Nothing is removed but by hand.
    public static let forever = WorkflowRetention(age: nil, count: nil)
}
