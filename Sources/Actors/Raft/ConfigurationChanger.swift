/// Computes the next configuration, and who is tracked in it (the rules of etcd's `confchange` package). The same
/// change on the same configuration gives the same result on every replica.
struct ConfigurationChanger: Sendable {
    /// A step by replica id, as the algorithm sees it.
    enum Step: Hashable, Sendable {
        case voter(ReplicaID)
        case learner(ReplicaID)
        case remove(ReplicaID)
    }

    enum Problem: Error, Hashable, Sendable {
        case alreadyJoint
        case notJoint
        case noVoters
        case removesAllVoters
        case severalVotersAtOnce
        case simpleWhileJoint
        case unknownReplica(ReplicaID)
        case notLearner(ReplicaID)
        case notVoter(ReplicaID)
        case nodeIsMember(NodeID)
        case contradiction(ReplicaID)

        var explanation: String {
            switch self {
            case .alreadyJoint:
                "a joint configuration is in force; leave it first, by a change without operations"
            case .notJoint: "no joint configuration is in force, so there is none to leave"
            case .noVoters:
                "a group without voters cannot become joint; its first change adds voters"
            case .removesAllVoters: "no voter would be left"
            case .severalVotersAtOnce: "more than one voter would change; use a joint transition"
            case .simpleWhileJoint: "a joint configuration is in force; only leaving it is possible"
            case .unknownReplica(let replica): "\(replica) is not a member"
            case .notLearner(let replica): "\(replica) is not a learner"
            case .notVoter(let replica): "\(replica) is not a voter"
            case .nodeIsMember(let node):
                "\(node) hosts a member already; remove that one in the same change"
            case .contradiction(let replica): "the change names \(replica) more than once"
            }
        }
    }

    var configuration: Configuration
    var progress: ContiguousArray<Progress>
    /// Where a new member is probed first.
    let lastIndex: LogIndex
    let inflights: Inflights

    // MARK: Changes as they are proposed

    mutating func apply(_ change: ConfigurationChange) throws(Problem) {
        if change.operations.isEmpty {
            try leaveJoint()
            return
        }
        var next = self
        let isFounding = configuration.members.isEmpty
        let steps = try next.resolve(change.operations)
        if isFounding {
            try next.run(steps)
        } else if change.transition != .automatic || steps.count > 1 {
            try next.enterJoint(steps, leavesAutomatically: change.transition != .jointExplicit)
        } else {
            try next.simple(steps)
        }
        self = next
    }

    /// Checks the operations against the configuration, and gives new members their ids.
    private mutating func resolve(_ operations: [ConfigurationChange.Operation]) throws(Problem)
        -> [Step]
    {
        var steps: [Step] = []
        var removed: [ReplicaID] = []
        for case .remove(let replica) in operations { removed.append(replica) }
        for operation in operations {
            if let named = operation.replica, operations.filter({ $0.replica == named }).count > 1 {
                throw .contradiction(named)
            }
            switch operation {
            case .addLearner(let node): steps.append(.learner(try admit(node, removed)))
            case .addVoter(let node): steps.append(.voter(try admit(node, removed)))
            case .promote(let replica):
                if !isMember(replica) { throw .unknownReplica(replica) }
                let isLearner = configuration.learners.contains(replica)
                if !isLearner && !configuration.nextLearners.contains(replica) {
                    throw .notLearner(replica)
                }
                steps.append(.voter(replica))
            case .demote(let replica):
                if !isMember(replica) { throw .unknownReplica(replica) }
                if !configuration.voters.contains(replica) { throw .notVoter(replica) }
                steps.append(.learner(replica))
            case .remove(let replica):
                if !isMember(replica) { throw .unknownReplica(replica) }
                steps.append(.remove(replica))
            }
        }
        return steps
    }

    private mutating func admit(_ node: NodeID, _ removed: [ReplicaID]) throws(Problem) -> ReplicaID {
        if configuration.members.contains(where: {
            $0.node == node && !removed.contains($0.replica)
        }) {
            throw .nodeIsMember(node)
        }
        if mutated(.reissuesReplicaIDs), let last = configuration.members.last?.replica.rawValue {
            configuration.nextReplica = ReplicaID(last + 1)
        }
        let replica = configuration.nextReplica
        configuration.nextReplica = ReplicaID(replica.rawValue + 1)
        // Without room for more, here and below: very many groups have such lists, which hardly change.
        configuration.members.reserveCapacity(configuration.members.count + 1)
        configuration.members.append(.init(replica: replica, node: node))
        return replica
    }

    private func isMember(_ replica: ReplicaID) -> Bool {
        configuration.members.contains { $0.replica == replica }
    }

    // MARK: The three transitions

    /// Changes at most one voter, at once.
    mutating func simple(_ steps: [Step]) throws(Problem) {
        if configuration.isJoint { throw .simpleWhileJoint }
        var next = self
        try next.run(steps)
        let before = configuration.voters
        let after = next.configuration.voters
        let changed =
            before.filter { !after.contains($0) }.count
            + after.filter { !before.contains($0) }.count
        if changed > 1 { throw .severalVotersAtOnce }
        self = next
    }

    mutating func enterJoint(_ steps: [Step], leavesAutomatically: Bool) throws(Problem) {
        if configuration.isJoint { throw .alreadyJoint }
        if configuration.voters.isEmpty { throw .noVoters }
        var next = self
        next.configuration.outgoingVoters = configuration.voters
        try next.run(steps)
        next.configuration.leavesAutomatically = leavesAutomatically
        self = next
    }

    mutating func leaveJoint() throws(Problem) {
        if !configuration.isJoint { throw .notJoint }
        for replica in configuration.nextLearners {
            configuration.learners.insertSorted(replica)
            if let position = position(of: replica) { progress[position].isLearner = true }
        }
        configuration.nextLearners = []
        let outgoing = configuration.outgoingVoters
        configuration.outgoingVoters = []
        configuration.leavesAutomatically = false
        for replica in outgoing
        where !configuration.voters.contains(replica) && !configuration.learners.contains(replica) {
            forget(replica)
        }
    }

    // MARK: Steps

    private mutating func run(_ steps: [Step]) throws(Problem) {
        for step in steps {
            switch step {
            case .voter(let replica): makeVoter(replica)
            case .learner(let replica): makeLearner(replica)
            case .remove(let replica): remove(replica)
            }
        }
        if configuration.voters.isEmpty { throw .removesAllVoters }
    }

    private mutating func makeVoter(_ replica: ReplicaID) {
        configuration.learners.removeAll { $0 == replica }
        configuration.nextLearners.removeAll { $0 == replica }
        configuration.voters.insertSorted(replica)
        if let position = position(of: replica) {
            progress[position].isLearner = false
        } else {
            track(replica, isLearner: false)
        }
    }

    /// A voter of the outgoing configuration stays a voter of it until the joint configuration is left; it may not be
    /// a learner and a voter at once, so it is noted for later.
    private mutating func makeLearner(_ replica: ReplicaID) {
        guard let position = position(of: replica) else {
            configuration.learners.insertSorted(replica)
            track(replica, isLearner: true)
            return
        }
        if progress[position].isLearner { return }
        configuration.voters.removeAll { $0 == replica }
        if configuration.outgoingVoters.contains(replica) {
            configuration.nextLearners.insertSorted(replica)
        } else {
            configuration.learners.insertSorted(replica)
            progress[position].isLearner = true
        }
    }

    private mutating func remove(_ replica: ReplicaID) {
        guard position(of: replica) != nil else { return }
        configuration.voters.removeAll { $0 == replica }
        configuration.learners.removeAll { $0 == replica }
        configuration.nextLearners.removeAll { $0 == replica }
        if !configuration.outgoingVoters.contains(replica) { forget(replica) }
    }

    private func position(of replica: ReplicaID) -> Int? {
        progress.firstIndex { $0.replica == replica }
    }

    /// A new member is probed at the end of the log, and taken to be alive until the next check of the quorum:
    /// otherwise a change would make the leader step down before the member could answer.
    private mutating func track(_ replica: ReplicaID, isLearner: Bool) {
        var new = Progress(
            replica: replica, next: max(lastIndex, LogIndex(1)), isLearner: isLearner,
            inflights: inflights)
        new.isRecentlyActive = true
        let position = progress.firstIndex { $0.replica > replica } ?? progress.endIndex
        progress.insert(new, at: position)
    }

    private mutating func forget(_ replica: ReplicaID) {
        progress.removeAll { $0.replica == replica }
        configuration.members.removeAll { $0.replica == replica }
    }
}

extension ConfigurationChange.Operation {
    /// The member that is changed; nil where one is added.
    fileprivate var replica: ReplicaID? {
        switch self {
        case .addLearner, .addVoter: nil
        case .promote(let replica), .demote(let replica), .remove(let replica): replica
        }
    }
}

extension [ReplicaID] {
    fileprivate mutating func insertSorted(_ replica: ReplicaID) {
        if contains(replica) { return }
        reserveCapacity(count + 1)
        insert(replica, at: firstIndex { $0 > replica } ?? endIndex)
    }
}

extension Configuration {
    /// The configuration that `change` makes of this one; nil where it does not fit. For whoever reads a log outside of
    /// a group.
    public func applying(_ change: ConfigurationChange) -> Configuration? {
        let inflights = Inflights(countMax: 1, bytesMax: 1)
        let progress = members.map(\.replica).sorted().map { replica in
            Progress(
                replica: replica, next: LogIndex(1), isLearner: learners.contains(replica), inflights: inflights)
        }
        var changer = ConfigurationChanger(
            configuration: self, progress: ContiguousArray(progress), lastIndex: .zero, inflights: inflights)
        do throws(ConfigurationChanger.Problem) { try changer.apply(change) } catch { return nil }
        return changer.configuration
    }
}
