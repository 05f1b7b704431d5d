import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("The rebalancer's plan", .timeLimit(.minutes(10)))
struct RebalanceTests {
    @Test("a fleet without work, and a balanced one, are left as they are")
    func balanced() throws {
        var world = try RebalanceWorld(seed: 1, nodes: 10)
        #expect(try !world.step() && world.clusters.isEmpty)
        try world.start(40)
        #expect(world.clusters.count == 2 && world.imbalance == 0)
        #expect(try !world.step())
    }

    @Test("a plan looks at so many clusters at most: where there are many it has fewer commands, and the next goes on")
    func boundedPlan() throws {
        var world = try RebalanceWorld(seed: 1, nodes: 10)
        for number in 1...30 { try world.apply([ManagementBench.create(UInt64(number), [1, 2, 3])]) }
        var last: UInt64 = 100
        func plan(_ state: ManagementState, lookLimit: Int) -> RebalancePlanner {
            RebalancePlanner(state, FleetObservation(now: .max / 2), lookLimit: lookLimit) {
                last += 1
                return ManagementBench.cluster(last)
            }
        }
        // All of them are idle, and have been for long.
        let whole = plan(world.state, lookLimit: RebalancePlanner.lookLimit)
        #expect(whole.commands.count > 20)
        let part = plan(world.state, lookLimit: 300)
        #expect(part.commands == Array(whole.commands.prefix(10)))
        let rest = plan(part.draft, lookLimit: RebalancePlanner.lookLimit)
        #expect(part.commands + rest.commands == whole.commands)
    }

    @Test("TT-27, TT-33: from 10 to 50 nodes: within two periods every node has a cluster and the load is even")
    func growth() throws {
        for seed in Simulation.seeds(5) {
            var world = try RebalanceWorld(seed: seed, nodes: 10) { $0.maximumWorkflowsPerCluster = 100 }
            try world.start(.random(in: 100...200, using: &world.random))
            try world.add(nodes: 11...50)
            try world.step()
            try world.step()
            #expect(world.idleNodes.isEmpty, "seed \(seed)")
            let isBalanced = world.isBalanced
            #expect(isBalanced, "seed \(seed): \(world.imbalance)")
            try world.settle()
            #expect(world.clusters.count == 10 && world.clusters.allSatisfy { $0.members.count == 5 }, "seed \(seed)")
        }
    }

    @Test("TT-33: from 50 to 10 nodes: clusters move member by member, then merge, and no run is lost")
    func consolidation() throws {
        for seed in Simulation.seeds(3) {
            var world = try RebalanceWorld(seed: seed, nodes: 50) { $0.maximumWorkflowsPerCluster = 60 }
            try world.start(.random(in: 60...120, using: &world.random))
            try world.settle()
            let runs = world.state.locations.count
            let leaving = world.usable.shuffled(using: &world.random).prefix(40)
            try world.drain(leaving)
            try world.settle(within: 400)
            #expect(leaving.allSatisfy { world.state.memberships[$0] == nil }, "seed \(seed)")
            for node in leaving { try world.apply([.removeNode(node, instance: nil)]) }
            try world.settle()
            #expect(world.state.locations.count == runs, "seed \(seed)")
            let isBalanced = world.isBalanced
            #expect(isBalanced, "seed \(seed): \(world.imbalance)")
            #expect(world.clusters.count < 10 && world.clusters.allSatisfy { (3...5).contains($0.members.count) })
        }
    }

    @Test("TT-33, TT-38: random failures, arrivals and departures: it comes to rest in balance, and no quorum is taken")
    func failures() throws {
        for seed in Simulation.seeds(16) {
            var world = try RebalanceWorld(seed: seed, nodes: 15) { $0.maximumWorkflowsPerCluster = 1_000 }
            var last: UInt64 = 15
            try world.start(150)
            for _ in 0..<25 {
                switch Int.random(in: 0..<8, using: &world.random) {
                case 0, 1: if let node = world.usable.randomElement(using: &world.random) { world.lost.insert(node) }
                case 2:
                    if let node = world.lost.sorted().randomElement(using: &world.random) { world.lost.remove(node) }
                case 3:
                    last += 1
                    try world.add(nodes: last...last)
                case 4:
                    if world.usable.count > 6, let node = world.usable.randomElement(using: &world.random) {
                        try world.drain([node])
                    }
                case 5: world.end(.random(in: 0..<20, using: &world.random))
                default: try world.start(.random(in: 0..<20, using: &world.random))
                }
                try world.step()
            }
            world.lost = []
            try world.settle()
            let isBalanced = world.isBalanced
            #expect(isBalanced, "seed \(seed): \(world.imbalance)")
            let staying = world.usable.count
            for cluster in world.clusters where cluster.isActive {
                #expect((min(3, staying)...5).contains(cluster.members.count), "seed \(seed): \(cluster.members.count)")
                #expect(cluster.learners.isEmpty, "seed \(seed)")
            }
        }
    }

    @Test("TT-38: a lost voter is replaced by a learner that has caught up; without a majority nothing is touched")
    func replacement() throws {
        var world = try RebalanceWorld(seed: 1, nodes: 6)
        try world.start(5)
        let id = try #require(world.clusters.first?.id)
        world.lost = [NodeID(1), NodeID(2), NodeID(3)]
        #expect(try !world.step(), "three of five are lost")
        world.lost = [NodeID(2), NodeID(3)]
        try world.step()
        #expect(world.clusters[0].learners == [NodeID(6)] && world.clusters[0].voters.count == 5)
        try world.settle()
        #expect(
            world.state.clusters[id]?.voters == [1, 4, 5, 6].map { NodeID($0) }, "no substitute, and three are left")
        world.lost.insert(NodeID(4))
        try world.settle()
        world.lost.insert(NodeID(5))
        #expect(try !world.step())
    }

    @Test("TT-29: above the load limit nothing moves; what failed is replaced all the same")
    func busy() throws {
        var world = try RebalanceWorld(seed: 1, nodes: 5) { $0.maximumWorkflowsPerCluster = 100 }
        try world.start(50)
        try world.add(nodes: 6...10)
        world.load = 0.9
        #expect(try !world.step() && world.skipReason?.contains("0.9") == true)
        world.lost = [NodeID(2)]
        try world.step()
        #expect(world.clusters.count == 1 && world.clusters[0].learners.count == 1)
        world.load = 0.8
        try world.settle()
        #expect(world.clusters.count == 2 && world.skipReason == nil)
    }

    @Test(
        "TT-40: an idle cluster goes 5 minutes after its last run and not before; ready ones stay, as does a last home")
    func idle() throws {
        var world = try RebalanceWorld(seed: 1, nodes: 10)
        try world.start(40)
        let last = try #require(world.clusters.last?.id)
        world.end(40)
        let ended = world.now
        func due(_ after: Int64) -> Bool {
            var observation = world.observation
            observation.now = ended + after
            let plan = RebalancePlanner(world.state, observation) { last }
            return !plan.commands.isEmpty
        }
        #expect(!due(299_999_999_999) && due(300_000_000_000))
        world.now = ended + 300_000_000_000
        try world.settle()
        #expect(world.clusters.count == 1 && world.state.slots.slots(of: world.clusters[0].group).count == 4_096)
        var policy = world.state.policy
        policy.readyClusters = 3
        policy.idleTimeToLive = .zero
        try world.apply([.setPolicy(policy)])
        try world.settle()
        #expect(world.clusters.count == 3, "TT-43: a pool of ready clusters")
        policy.readyClusters = 1
        try world.apply([.setPolicy(policy)])
        try world.settle()
        #expect(world.clusters.count == 1, "a time to live of 0 is at once")
    }

    @Test("TT-58: 8 nodes, 5 of them in one cluster: the others form one, and the load is shared")
    func split() throws {
        for nodes in 6...9 {
            var world = try RebalanceWorld(seed: 1, nodes: 5) { $0.maximumWorkflowsPerCluster = 100 }
            try world.start(60)
            try world.add(nodes: 6...UInt64(nodes))
            try world.settle()
            #expect(world.isBalanced, "\(nodes) nodes: \(world.imbalance)")
            #expect(world.clusters.count == (nodes == 6 ? 1 : 2), "\(nodes) nodes")
            #expect(world.clusters.allSatisfy { (3...5).contains($0.members.count) })
        }
    }
}
