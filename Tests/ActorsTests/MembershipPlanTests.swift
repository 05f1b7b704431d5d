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

    private func next(
        _ configuration: Configuration, desired: [UInt64], caughtUp: [UInt64] = [], leader: UInt64 = 1
    ) -> [ConfigurationChange.Operation]? {
        MembershipPlan(
            configuration: configuration, wanted: DesiredMembers(desired.map(NodeID.init)),
            caughtUp: Set(caughtUp.map(ReplicaID.init)), leader: ReplicaID(leader)
        ).nextChange?.operations
    }

    @Test("a new node comes as a learner, and two that have caught up are promoted in one step, from 1 voter to 3")
    func growth() {
        #expect(next(configuration(voters: [1]), desired: [1, 2]) == [.addLearner(NodeID(2))])
        #expect(next(configuration(voters: [1], learners: [2]), desired: [1, 2], caughtUp: [2]) == nil)
        let three = configuration(voters: [1], learners: [2, 3])
        #expect(next(three, desired: [1, 2, 3], caughtUp: [2]) == nil, "one alone would make the count even")
        #expect(
            next(three, desired: [1, 2, 3], caughtUp: [2, 3]) == [.promote(ReplicaID(2)), .promote(ReplicaID(3))])
    }

    @Test("beyond five voters members stay learners")
    func atMostFiveVoters() {
        let group = configuration(voters: [1, 2, 3, 4, 5], learners: [6, 7])
        #expect(next(group, desired: [1, 2, 3, 4, 5, 6, 7], caughtUp: [6, 7]) == nil)
    }

    @Test("a voter that is to go is replaced by a learner in the same step")
    func replacement() {
        let group = configuration(voters: [1, 2, 3], learners: [4])
        #expect(
            next(group, desired: [1, 2, 4], caughtUp: [4]) == [.remove(ReplicaID(3)), .promote(ReplicaID(4))])
    }

    @Test("without a substitute the group shrinks to an odd number of voters, step by step")
    func shrink() {
        #expect(next(configuration(voters: [1, 2, 3]), desired: [1, 2]) == [.remove(ReplicaID(3))])
        #expect(next(configuration(voters: [1, 2]), desired: [1, 2]) == [.demote(ReplicaID(2))])
    }

    @Test("the leader does not remove itself")
    func leaderStays() {
        #expect(next(configuration(voters: [1, 2, 3]), desired: [2, 3], leader: 1) == nil)
    }
}
