import FlotillaRaft
import Testing

@testable import FlotillaActors

@Suite struct MembershipPlanTests {
    private func configuration(voters: [UInt64], learners: [UInt64] = []) -> Configuration {
        Configuration(
            members: (voters + learners).sorted().map { .init(replica: ReplicaID($0), node: NodeID($0)) },
            voters: voters.map(ReplicaID.init), outgoingVoters: [], learners: learners.map(ReplicaID.init),
            nextLearners: [], leavesAutomatically: false, nextReplica: ReplicaID(100))
    }

    /// - Parameter silent: voters that the leader does not hear of.
    private func next(
        _ configuration: Configuration, desired: [UInt64], eligible: [UInt64]? = nil, caughtUp: [UInt64] = [],
        silent: [UInt64] = [], leader: UInt64 = 1, votersMax: Int = 5, mayAdd: Bool = true
    ) -> MembershipPlan.Step? {
        let wanted = DesiredMembers(
            desired.map(NodeID.init), eligible: eligible?.map(NodeID.init), votersMax: votersMax)
        let heardOf = configuration.voters.filter { !silent.contains($0.rawValue) } + caughtUp.map(ReplicaID.init)
        return MembershipPlan(
            configuration: configuration, wanted: wanted, caughtUp: Set(caughtUp.map(ReplicaID.init)),
            active: Set(heardOf), leader: ReplicaID(leader), mayAdd: mayAdd
        ).nextStep
    }

    private func change(_ operations: ConfigurationChange.Operation...) -> MembershipPlan.Step {
        .change(ConfigurationChange(operations))
    }

    @Test("a new node comes as a learner, and two that have caught up are promoted in one step, from 1 voter to 3")
    func growth() {
        #expect(next(configuration(voters: [1]), desired: [1, 2]) == change(.addLearner(NodeID(2))))
        #expect(next(configuration(voters: [1], learners: [2]), desired: [1, 2], caughtUp: [2]) == nil)
        let three = configuration(voters: [1], learners: [2, 3])
        #expect(next(three, desired: [1, 2, 3], caughtUp: [2]) == nil, "one alone would make the count even")
        #expect(
            next(three, desired: [1, 2, 3], caughtUp: [2, 3])
                == change(.promote(ReplicaID(2)), .promote(ReplicaID(3))))
    }

    @Test("beyond the most voters, and where they may not vote, members stay learners")
    func limits() {
        let group = configuration(voters: [1, 2, 3], learners: [4, 5])
        #expect(next(group, desired: [1, 2, 3, 4, 5], caughtUp: [4, 5], votersMax: 3) == nil)
        #expect(next(group, desired: [1, 2, 3, 4, 5], eligible: [1, 2, 3], caughtUp: [4, 5]) == nil)
        #expect(next(group, desired: [1, 2, 3, 4, 5], eligible: [1, 2, 3, 4], caughtUp: [4, 5]) == nil)
    }

    @Test("a voter that is to go is replaced by a learner in the same step, and votes until there is one")
    func replacement() {
        let group = configuration(voters: [1, 2, 3], learners: [4])
        #expect(next(group, desired: [1, 2, 4]) == nil)
        #expect(
            next(group, desired: [1, 2, 4], caughtUp: [4]) == change(.remove(ReplicaID(3)), .promote(ReplicaID(4))))
        #expect(
            next(group, desired: [1, 2, 3, 4], eligible: [1, 2, 4], caughtUp: [4])
                == change(.demote(ReplicaID(3)), .promote(ReplicaID(4))))
    }

    @Test("where nobody knows whom management wants now, all that adds nobody goes on")
    func withoutWish() {
        let group = configuration(voters: [1, 2, 3], learners: [4])
        #expect(next(group, desired: [1, 2, 4, 5], caughtUp: [4]) == change(.addLearner(NodeID(5))))
        #expect(
            next(group, desired: [1, 2, 4, 5], caughtUp: [4], mayAdd: false)
                == change(.remove(ReplicaID(3)), .promote(ReplicaID(4))))
        #expect(next(configuration(voters: [1, 2, 3]), desired: [1, 2, 3, 5], mayAdd: false) == nil)
    }

    @Test("a group that is to be smaller loses two votes in one step, those of silent members first")
    func shrink() {
        #expect(
            next(configuration(voters: [1, 2, 3]), desired: [1, 2])
                == change(.demote(ReplicaID(2)), .remove(ReplicaID(3))))
        #expect(next(configuration(voters: [1, 2]), desired: [1, 2]) == change(.demote(ReplicaID(2))))
        #expect(
            next(configuration(voters: [1, 2, 3, 4, 5]), desired: [1, 2, 3, 4], silent: [2])
                == change(.demote(ReplicaID(2)), .remove(ReplicaID(5))))
    }

    @Test("nobody's vote changes where nobody may vote, or where no majority of the next voters is heard of")
    func nothingToDo() {
        let group = configuration(voters: [1, 2, 3])
        #expect(next(group, desired: [1, 2, 3], eligible: []) == nil)
        #expect(next(group, desired: []) == nil)
        let five = configuration(voters: [1, 2, 3, 4, 5])
        #expect(next(five, desired: [1, 2, 3, 4, 5], eligible: [1, 4, 5], silent: [4, 5]) == nil)
    }

    @Test("a leader that is to go hands over to a voter that stays, where there is one")
    func leaderGoesLast() {
        let group = configuration(voters: [1, 2, 3], learners: [4])
        #expect(
            next(group, desired: [2, 4, 5], caughtUp: [4]) == change(.addLearner(NodeID(5))),
            "its successors come first")
        #expect(
            next(group, desired: [2, 3, 4], caughtUp: [4]) == .handOver(to: [ReplicaID(2), ReplicaID(3)]))
        // It is the only one who can let others in.
        let newcomers = configuration(voters: [1, 2, 3], learners: [4, 5, 6])
        #expect(
            next(newcomers, desired: [4, 5, 6], caughtUp: [4, 5, 6])
                == change(
                    .remove(ReplicaID(2)), .remove(ReplicaID(3)), .promote(ReplicaID(4)), .promote(ReplicaID(5))))
        // Nobody to hand over to: it leaves by its own change.
        #expect(
            next(configuration(voters: [1], learners: [2]), desired: [2], caughtUp: [2])
                == change(.remove(ReplicaID(1)), .promote(ReplicaID(2))))
    }
}
