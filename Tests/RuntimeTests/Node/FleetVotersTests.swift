import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// The voters of the management group on simulated nodes.
@Suite("Voters of a fleet", .timeLimit(.minutes(5)))
struct FleetVotersTests {
    private static let waiting = Workflow("waiting", version: 1) {
        (input: Int, context: WorkflowContext) async throws -> Int in
        var sum = 0
        for number in 1...5 {
            sum += try await context.step("step \(number)") { _ in number * input }
            try await context.sleep(for: .seconds(3))
        }
        return sum
    }

    @Test(
        "TT-46: a voter that dies, leader or not, is replaced within its failure timeout and 2 s; the count stays odd")
    func lostVoter() async throws {
        for kills in ["leader", "follower"] {
            try await withSimulations(seeds: 3, nodes: 6, workflows: []) { simulation in
                let before = try await simulation.voters(1)
                #expect(before.count == 3)
                let leader = Int(try #require(try await simulation.managementReport(1).leader).rawValue)
                let killed = kills == "leader" ? leader : before.subtracting([leader]).min()!
                simulation.crash(killed)
                let survivor = before.subtracting([killed]).min()!
                let heir = Set(1...6).subtracting(before).min()!
                // Less than the timeout changes nothing.
                await simulation.advance(by: .seconds(4))
                #expect(try await simulation.voters(survivor) == before)
                try await simulation.waitForVoters(
                    before.subtracting([killed]).union([heir]), within: .seconds(3))
                simulation.restart(killed)
                try await simulation.wait(until: "it follows as a learner") {
                    guard let report = try? await simulation.managementReport(killed) else { return false }
                    return report.learners.contains(NodeID(UInt64(killed))) && report.leader != nil
                }
            }
        }
    }

    @Test("TT-02, TT-30: of ten nodes three vote; without the seven learners it commits, and they have the log as well")
    func learners() async throws {
        try await withSimulations(seeds: 2, nodes: 10, workflows: []) { simulation in
            let voters = try await simulation.voters(1)
            #expect(voters.count == 3)
            let learners = Set(simulation.nodes).subtracting(voters)
            for node in learners { simulation.crash(node) }
            let voter = voters.max()!
            for isDraining in [true, false, true] {
                try await simulation.command(.drainNode(NodeID(10), isDraining: isDraining), on: voter)
            }
            // Of the voters one more than half is needed.
            simulation.crash(voters.min()!)
            try await simulation.command(.drainNode(NodeID(9), isDraining: true), on: voter)
            for node in simulation.nodes where !simulation.runningNodes.contains(node) { simulation.restart(node) }
            try await simulation.wait(until: "all know it") {
                for node in simulation.nodes {
                    guard let fleet = try? await simulation.fleet(node) else { return false }
                    guard fleet.nodes[NodeID(9)]?.isDraining == true, fleet.nodes[NodeID(10)]?.isDraining == true else {
                        return false
                    }
                }
                return true
            }
        }
    }

    @Test("nodes that were away while another one joined, and came to lead, hear of it and of what it commits")
    func unknownLeader() async throws {
        try await withSimulations(seeds: 3, nodes: 5, workflows: []) { simulation in
            let voters = try await simulation.voters(1).sorted()
            let away = Set(1...5).subtracting(voters).sorted()
            // The two hear each other, and later those whom they know, but not of node 6.
            simulation.partition(away, from: voters)
            simulation.addNode(workflows: [])
            simulation.partition(away, from: [6])
            let leader = Int(try #require(try await simulation.managementReport(voters[0]).leader).rawValue)
            try await simulation.wait(until: "node 6 is a learner") {
                try await simulation.managementReport(leader).learners.contains(NodeID(6))
            }
            let demoted = NodeID(UInt64(voters.first { $0 != leader }!))
            try await simulation.command(
                .changeNodeRole(NodeID(6), .voter), .changeNodeRole(demoted, .learner), on: leader)
            try await simulation.wait(until: "node 6 leads", within: .seconds(600)) {
                let report = try await simulation.managementReport(6)
                if report.status.role == .leader { return true }
                guard let leader = report.leader.map({ Int($0.rawValue) }), report.learners.count == 3 else {
                    return false
                }
                simulation.crash(leader)
                await simulation.advance(by: .seconds(1))
                simulation.restart(leader)
                return false
            }
            simulation.heal()
            try await simulation.wait(until: "all know node 6") {
                for node in 1...6 where try await simulation.fleet(node).nodes[NodeID(6)] == nil { return false }
                return true
            }
        }
    }

    @Test("TT-09: voters are promoted and demoted under load, by steps that leave an odd number, and three at least")
    func roles() async throws {
        try await withSimulations(seeds: 2, nodes: 7, workflows: [Self.waiting]) { simulation in
            var runs: [WorkflowRun<Int>] = []
            for number in 1...5 {
                runs.append(try await simulation.submit(Self.waiting, id: "run-\(number)", input: number))
            }
            let three = try await simulation.voters(1)
            try await simulation.setPolicy(on: 1) { $0.targetVoterCount = 5 }
            let five = three.union(Set(1...7).subtracting(three).sorted().prefix(2))
            try await simulation.waitForVoters(five, within: .seconds(5))
            // One that votes is to leave: another takes its vote.
            let leader = Int(try #require(try await simulation.managementReport(1).leader).rawValue)
            let sixth = Set(1...7).subtracting(five).min()!
            try await simulation.command(.drainNode(NodeID(UInt64(leader)), isDraining: true), on: leader)
            try await simulation.waitForVoters(five.subtracting([leader]).union([sixth]), within: .seconds(10))
            try await simulation.setPolicy(on: 1) { $0.targetVoterCount = 3 }
            try await simulation.wait(until: "three voters") {
                let voters = try await simulation.voters(2)
                #expect(!voters.count.isMultiple(of: 2) && voters.count >= 3)
                return voters.count == 3
            }
            for (position, run) in runs.enumerated() { #expect(try await run.result() == (position + 1) * 15) }
        }
    }

    @Test("TT-45: voters are the nodes that were named, those with a label, or any, as the policy says")
    func selections() async throws {
        for seed in Simulation.seeds(2) {
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                configuration.labels = ["manager": configuration.id.rawValue > 4 ? "yes" : "no"]
            }
            try await withSimulation(seed: seed, nodes: 7, workflows: [], configure: configure) { simulation in
                try await simulation.setPolicy(on: 1) { $0.voterSelection = .fixed([2, 4, 6].map { NodeID($0) }) }
                try await simulation.waitForVoters([2, 4, 6], within: .seconds(10))
                // Nobody else was named.
                simulation.crash(4)
                await simulation.advance(by: .seconds(20))
                #expect(try await simulation.voters(2) == [2, 4, 6])
                simulation.restart(4)
                try await simulation.setPolicy(on: 1) { $0.voterSelection = .labelled(NodeLabel("manager", "yes")) }
                try await simulation.waitForVoters([5, 6, 7], within: .seconds(10))
                try await simulation.setPolicy(on: 1) { $0.voterSelection = .automatic }
                simulation.crash(6)
                try await simulation.waitForVoters([1, 5, 7], within: .seconds(10))
            }
        }
    }

    @Test("a voter that is removed from the fleet has an heir, and no vote is lost on the way")
    func removal() async throws {
        try await withSimulations(seeds: 3, nodes: 5, workflows: []) { simulation in
            let before = try await simulation.voters(1)
            let removed = before.max()!
            let heir = Set(1...5).subtracting(before).min()!
            try await simulation.node(before.min()!).removeNode(NodeID(UInt64(removed)))
            simulation.crash(removed)
            try await simulation.waitForVoters(before.subtracting([removed]).union([heir]), within: .seconds(10))
        }
    }
}
