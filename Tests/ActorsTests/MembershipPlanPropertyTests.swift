import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Random groups on their way to random members.
@Suite struct MembershipPlanPropertyTests {
    @Test("whatever is wanted, the count of voters is odd and never smaller on the way, and the group gets there")
    func path() throws {
        for seed in Simulation.seeds(1_000) {
            var walk = Walk(seed: seed, withSilentNodes: false)
            try walk.finish()
            let (configuration, wanted) = (walk.configuration, walk.wanted)
            let note: Comment = "FLOTILLA_SEED=\(seed): \(wanted), \(configuration)"
            guard !wanted.eligible.isEmpty else {
                #expect(configuration.voters == walk.votersAtStart, note)
                continue
            }
            #expect(Set(configuration.members.map(\.node)) == Set(wanted.nodes), note)
            #expect(configuration.voters.count == wanted.voterCount, note)
            #expect(configuration.voters.allSatisfy { wanted.eligible.contains(walk.node($0)) }, note)
        }
    }

    @Test("a learner that is not heard of is never promoted, and a majority of the voters always is")
    func silence() throws {
        var (promoted, waiting) = (0, 0)
        let seeds = Simulation.seeds(1_000)
        for seed in seeds {
            var walk = Walk(seed: seed, withSilentNodes: true)
            try walk.finish()
            promoted += walk.promotions
            if walk.configuration.voters.count != walk.wanted.voterCount { waiting += 1 }
        }
        if seeds.count > 1 { #expect(promoted > 100 && waiting > 100, "\(promoted) promoted, \(waiting) wait") }
    }

    private struct Walk {
        let seed: UInt64
        var configuration: Configuration
        var wanted: DesiredMembers
        var silent: Set<NodeID> = []
        var leader: ReplicaID
        var promotions = 0
        let votersAtStart: [ReplicaID]
        private var random: SeededGenerator
        private let least: Int

        init(seed: UInt64, withSilentNodes: Bool) {
            self.seed = seed
            random = SeededGenerator(seed: seed)
            let nodes = (1...9).map { NodeID($0) }.shuffled(using: &random)
            let voters = [1, 3, 5].randomElement(using: &random)!
            let learners = Int.random(in: 0...3, using: &random)
            let members = nodes.prefix(voters + learners).enumerated()
                .map { Configuration.Member(replica: ReplicaID(UInt64($0.offset) + 1), node: $0.element) }
            configuration = Configuration(
                members: members, voters: members.prefix(voters).map(\.replica), outgoingVoters: [],
                learners: members.dropFirst(voters).map(\.replica), nextLearners: [], leavesAutomatically: false,
                nextReplica: ReplicaID(100))
            let desired = nodes.shuffled(using: &random).prefix(.random(in: 1...7, using: &random))
            let eligible = desired.prefix(.random(in: 0...desired.count, using: &random))
            wanted = DesiredMembers(
                Array(desired), eligible: Bool.random(using: &random) ? nil : Array(eligible),
                votersMax: [1, 3, 5].randomElement(using: &random)!)
            if withSilentNodes {
                // Of the voters fewer than half, or nobody leads.
                silent = Set(members.prefix(voters).prefix(.random(in: 0...voters / 2, using: &random)).map(\.node))
                for node in nodes.dropFirst(voters) where Bool.random(using: &random) { silent.insert(node) }
            }
            votersAtStart = configuration.voters
            leader = votersAtStart.last!
            least = min(voters, wanted.eligible.isEmpty ? voters : wanted.voterCount)
        }

        func node(_ replica: ReplicaID) -> NodeID { configuration.node(of: replica)! }
        private func isActive(_ replica: ReplicaID) -> Bool { !silent.contains(node(replica)) }

        /// Takes every step that the leader would.
        mutating func finish() throws {
            for _ in 0..<60 {
                let active = Set(configuration.members.map(\.replica).filter(isActive))
                let plan = MembershipPlan(
                    configuration: configuration, wanted: wanted,
                    caughtUp: active.intersection(configuration.learners), active: active, leader: leader)
                switch plan.nextStep {
                case nil: return
                case .handOver(let heirs):
                    #expect(!heirs.contains(leader) && heirs.allSatisfy(configuration.voters.contains), note)
                    #expect(heirs.allSatisfy(isActive), note)
                    leader = heirs.randomElement(using: &random)!
                case .change(let change): try apply(change)
                }
            }
            Issue.record("no end: \(note)")
        }

        private mutating func apply(_ change: ConfigurationChange) throws {
            for case .promote(let replica) in change.operations {
                promotions += 1
                #expect(isActive(replica), "\(replica) is silent: \(note)")
            }
            configuration = try #require(configuration.applying(change), note)
            check()
            if configuration.isJoint {
                configuration = try #require(configuration.applying(ConfigurationChange([])), note)
                check()
            }
            guard !configuration.voters.contains(leader) else { return }
            let next = configuration.voters.filter(isActive).randomElement(using: &random)
            leader = try #require(next, note)
        }

        private func check() {
            for voters in [configuration.voters, configuration.outgoingVoters] where !voters.isEmpty {
                #expect(!voters.count.isMultiple(of: 2) && voters.count >= least, note)
                #expect(voters.count { isActive($0) } * 2 > voters.count, note)
            }
        }

        private var note: Comment { "FLOTILLA_SEED=\(seed): \(wanted), silent \(silent), \(configuration)" }
    }
}
