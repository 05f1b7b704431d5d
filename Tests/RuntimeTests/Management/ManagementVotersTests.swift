import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Voters of the management group", .timeLimit(.minutes(5)))
struct ManagementVotersTests {
    private typealias Bench = ManagementBench

    /// Applies changes until there are none.
    /// - Returns: how many commands it took.
    @discardableResult
    private func settle(
        _ bench: inout Bench, lost: Set<UInt64> = [], behind: Set<UInt64> = [], leader: UInt64? = nil
    ) throws -> Int {
        var observation = FleetObservation(now: 0)
        for node in lost { observation.silence[NodeID(node)] = .max }
        var commands = 0
        while true {
            let caughtUp = Set(bench.state.nodes.keys.filter { !behind.contains($0.rawValue) })
            let voters = ManagementVoters(
                state: bench.state, observation: observation, caughtUp: caughtUp, leader: leader.map { NodeID($0) })
            if voters.changes.isEmpty { return commands }
            #expect(try bench.apply(voters.changes) == nil)
            commands += 1
            try #require(commands < 20, "no end")
        }
    }

    private func voters(_ bench: Bench) -> [UInt64] {
        bench.state.nodes.values.filter { $0.role == .voter }.map(\.node.rawValue).sorted()
    }

    @Test("TT-02: three of up to 19 nodes vote, five from 20 on, and always an odd number")
    func counts() throws {
        for (nodes, count) in [(1, 1), (2, 1), (3, 3), (4, 3), (19, 3), (20, 5), (50, 5)] {
            var bench = try Bench(nodes: UInt64(nodes))
            try settle(&bench)
            #expect(voters(bench).count == count, "\(nodes) nodes")
        }
    }

    @Test("TT-45, TT-46: a lost voter is replaced by a learner that has caught up, and nobody else moves")
    func replacement() throws {
        var bench = try Bench(nodes: 6)
        try settle(&bench)
        #expect(voters(bench) == [1, 2, 3])
        #expect(try settle(&bench, lost: [2], behind: [4, 5, 6]) == 0, "nobody has caught up")
        #expect(try settle(&bench, lost: [2], behind: [4]) == 1)
        #expect(voters(bench) == [1, 3, 5])
        #expect(try settle(&bench, lost: [2, 4, 6]) == 0, "nobody who is alive is missing")
        try bench.apply(.drainNode(NodeID(3), isDraining: true))
        #expect(try settle(&bench, leader: 3) == 1)
        #expect(voters(bench) == [1, 2, 5])
    }

    @Test("TT-45: voters are those that the operator named, or those with a label")
    func selections() throws {
        var bench = try Bench()
        for node in 1...7 as ClosedRange<UInt64> {
            try bench.apply(.registerNode(Bench.node(node, labels: node > 3 ? [NodeLabel("manager", "yes")] : [])))
        }
        try settle(&bench)
        var policy = ExecutionClusterPolicy()
        policy.voterSelection = .fixed([2, 3, 5].map { NodeID($0) })
        try bench.apply(.setPolicy(policy))
        try settle(&bench, leader: 1)
        #expect(voters(bench) == [2, 3, 5])
        #expect(try settle(&bench, lost: [5]) == 0, "nobody else was named")
        policy.voterSelection = .labelled(NodeLabel("manager", "yes"))
        try bench.apply(.setPolicy(policy))
        try settle(&bench, lost: [6])
        #expect(voters(bench) == [4, 5, 7])
        policy.voterSelection = .automatic
        policy.targetVoterCount = 5
        try bench.apply(.setPolicy(policy))
        try settle(&bench)
        #expect(voters(bench) == [1, 2, 4, 5, 7])
        policy.targetVoterCount = 1
        try bench.apply(.setPolicy(policy))
        try settle(&bench, leader: 5)
        #expect(voters(bench).count == 3, "never fewer than three of seven")
    }

    @Test("TT-09: whatever fails, comes and goes, no change takes the majority away, and the count ends odd")
    func random() throws {
        for seed in Simulation.seeds(60) {
            var random = SeededGenerator(seed: seed)
            var bench = try Bench(nodes: .random(in: 1...9, using: &random))
            var lost: Set<UInt64> = []
            for _ in 0..<40 {
                let node = UInt64.random(in: 1...12, using: &random)
                switch Int.random(in: 0..<6, using: &random) {
                case 0, 1: try bench.apply(.registerNode(Bench.node(node)))
                case 2: try bench.apply(.removeNode(NodeID(node), instance: nil))
                case 3: try bench.apply(.drainNode(NodeID(node), isDraining: Bool.random(using: &random)))
                case 4: lost.insert(node)
                default: lost.remove(node)
                }
                let before = voters(bench)
                let hadMajority = before.filter { !lost.contains($0) }.count * 2 > before.count
                try settle(&bench, lost: lost, leader: before.first { !lost.contains($0) })
                let after = voters(bench)
                guard hadMajority else { continue }
                let live = after.filter { !lost.contains($0) }.count
                #expect(live * 2 > after.count, "seed \(seed): \(before) became \(after), \(lost) are lost")
                let staying = bench.state.nodes.values.filter { !$0.isDraining && !lost.contains($0.node.rawValue) }
                let isShort = staying.count < 3
                #expect(!after.count.isMultiple(of: 2) || isShort, "seed \(seed): \(before) became \(after)")
            }
        }
    }
}
