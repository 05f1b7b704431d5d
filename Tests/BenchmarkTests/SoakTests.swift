import Testing

@testable import FlotillaBenchmarks

@Suite("Soak")
struct SoakTests {
    @Test("one seed is one list of faults")
    func replay() {
        func faults(_ seed: UInt64) -> [FaultPlan.Fault] {
            var plan = FaultPlan(seed: seed, nodes: 1...3)
            return (0..<50).map { _ in plan.next() }
        }
        #expect(faults(7) == faults(7))
        #expect(faults(7) != faults(8))
        #expect(Set(faults(7).map(\.node)) == [1, 2, 3])
        #expect(Set(faults(7).map(\.kind)) == [.kill, .terminate])
    }

    @Test("the expected value depends on every step and on their order")
    func chain() {
        #expect(ChainWork(id: "a", seed: 5, steps: 0).expected == 5)
        #expect(ChainWork(id: "a", seed: 5, steps: 1).expected == 162)
        #expect(ChainWork(id: "a", seed: 5, steps: 2).expected == 5_030)
        #expect(
            ChainWork(id: "a", seed: 5, steps: 8).expected
                != ChainWork(id: "a", seed: 5, steps: 9).expected)
    }

    private func report(_ node: UInt64, applied: UInt64, hash: String?) -> StatusReport {
        StatusReport(
            node: node, ready: true,
            groups: [
                .init(
                    group: 2, kind: "workflow", role: "follower", appliedIndex: applied,
                    voters: [1, 2, 3],
                    stateHash: hash)
            ])
    }

    @Test("replicas at one index with one hash agree")
    func agree() throws {
        let reports = [report(1, applied: 9, hash: "aa"), report(2, applied: 9, hash: "aa")]
        #expect(try Soak.agreement(of: reports) != nil)
    }

    @Test("replicas at different indexes are not compared")
    func notYet() throws {
        let reports = [report(1, applied: 9, hash: "aa"), report(2, applied: 8, hash: "bb")]
        #expect(try Soak.agreement(of: reports) == nil)
    }

    @Test(
        "replicas at one index with different hashes, or without, fail the soak",
        arguments: ["bb", nil])
    func differ(hash: String?) {
        let reports = [report(1, applied: 9, hash: "aa"), report(2, applied: 9, hash: hash)]
        #expect(throws: BenchError.self) { try Soak.agreement(of: reports) }
    }
}
