import Testing

@testable import FlotillaRaft

@Suite struct ConfigurationChangerTests {
    private func changer(_ steps: ConfigurationChanger.Step...) throws -> ConfigurationChanger {
        var changer = ConfigurationChanger(
            configuration: Configuration(), progress: [], lastIndex: index(5),
            inflights: Inflights(countMax: 4, bytesMax: 100))
        for step in steps { try changer.simple([step]) }
        return changer
    }

    @Test("a simple change moves one voter at most, and leaves at least one")
    func simple() throws {
        var one = try changer(.voter(replica(1)), .learner(replica(3)))
        #expect(throws: ConfigurationChanger.Problem.severalVotersAtOnce) {
            try one.simple([.voter(replica(4)), .voter(replica(5))])
        }
        #expect(throws: ConfigurationChanger.Problem.severalVotersAtOnce) {
            try one.simple([.remove(replica(1)), .voter(replica(5))])
        }
        #expect(throws: ConfigurationChanger.Problem.removesAllVoters) {
            try one.simple([.remove(replica(1))])
        }
        #expect(throws: ConfigurationChanger.Problem.removesAllVoters) {
            try one.simple([.learner(replica(1))])
        }
        #expect(one.configuration.voters == [replica(1)])
        try one.simple([.learner(replica(7)), .learner(replica(8)), .remove(replica(99))])
        #expect(one.configuration.learners == [replica(3), replica(7), replica(8)])
    }

    @Test("a joint change keeps the old voters until it is left, and demotes only then")
    func joint() throws {
        var group = try changer(.voter(replica(1)))
        try group.enterJoint([.voter(replica(2)), .learner(replica(1))], leavesAutomatically: true)
        #expect(group.configuration.voters == [replica(2)])
        #expect(group.configuration.outgoingVoters == [replica(1)])
        #expect(group.configuration.nextLearners == [replica(1)])
        #expect(group.progress.map(\.isLearner) == [false, false])
        #expect(throws: ConfigurationChanger.Problem.alreadyJoint) {
            try group.enterJoint([], leavesAutomatically: false)
        }
        #expect(throws: ConfigurationChanger.Problem.simpleWhileJoint) {
            try group.simple([.learner(replica(9))])
        }
        try group.leaveJoint()
        #expect(group.configuration.voters == [replica(2)])
        #expect(group.configuration.learners == [replica(1)])
        #expect(group.progress.map(\.isLearner) == [true, false])
        #expect(!group.configuration.leavesAutomatically)
        #expect(throws: ConfigurationChanger.Problem.notJoint) { try group.leaveJoint() }
    }

    @Test("a joint change is idempotent, and a removed voter is tracked until it is left")
    func idempotency() throws {
        var group = try changer(.voter(replica(1)))
        try group.enterJoint(
            [
                .remove(replica(1)), .remove(replica(2)), .remove(replica(9)), .voter(replica(2)),
                .voter(replica(3)),
                .voter(replica(2)), .learner(replica(2)), .learner(replica(2)),
                .learner(replica(1)),
                .learner(replica(1)),
            ], leavesAutomatically: false)
        #expect(group.configuration.voters == [replica(3)])
        #expect(group.configuration.learners == [replica(2)])
        #expect(group.configuration.nextLearners == [replica(1)])
        #expect(group.progress.map(\.replica) == [replica(1), replica(2), replica(3)])
        try group.leaveJoint()
        #expect(group.configuration.learners == [replica(1), replica(2)])
    }

    @Test("a group without voters cannot become joint")
    func zero() throws {
        var empty = try changer()
        #expect(throws: ConfigurationChanger.Problem.noVoters) {
            try empty.enterJoint([.voter(replica(1))], leavesAutomatically: false)
        }
        #expect(throws: ConfigurationChanger.Problem.notJoint) { try empty.leaveJoint() }
    }

    @Test("replica ids are issued in order and never twice")
    func replicaIDs() throws {
        var group = try changer()
        try group.apply(ConfigurationChange([.addVoter(NodeID(1)), .addLearner(NodeID(2))]))
        try group.apply(ConfigurationChange([.remove(replica(2))]))
        try group.apply(ConfigurationChange([.addLearner(NodeID(2))]))
        #expect(group.configuration.members.map(\.replica) == [replica(1), replica(3)])
        let before = group.configuration
        #expect(throws: ConfigurationChanger.Problem.nodeIsMember(NodeID(2))) {
            try group.apply(ConfigurationChange([.addLearner(NodeID(7)), .addLearner(NodeID(2))]))
        }
        #expect(group.configuration == before)
    }
}
