import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Reports of workflows", .timeLimit(.minutes(5)))
struct WorkflowReportTests {
    private typealias Bench = ManagementBench

    private func bench() throws -> Bench {
        var bench = try Bench(nodes: 5)
        try bench.apply(Bench.create(1, [1, 2, 3]), Bench.create(2, [3, 4, 5]))
        return bench
    }

    @Test("TT-08, TT-11: what clusters report is found by id, by cluster and by type")
    func registry() throws {
        var bench = try bench()
        let starts = [Bench.started("a"), Bench.started("b", type: "v"), Bench.started("c")]
        try bench.apply(.reportWorkflows(bench.report(1, started: starts)))
        try bench.apply(.reportWorkflows(bench.report(2, started: [Bench.started("d")])))
        #expect(bench.located("b") == Bench.cluster(1) && bench.located("d") == Bench.cluster(2))
        let cluster = try #require(bench.state.clusters[Bench.cluster(1)])
        #expect(cluster.activeWorkflows == ["w": 2, "v": 1] && cluster.createdAt == 1_000)
        #expect(cluster.voters == [1, 2, 3].map(NodeID.init))
        try bench.apply(.reportWorkflows(bench.report(1, ended: [Bench.ended("b"), Bench.ended("c", run: 9)])))
        #expect(bench.located("b") == nil && bench.located("c") != nil, "the end of another run of that id")
        #expect(bench.state.clusters[Bench.cluster(1)]?.activeWorkflows == ["w": 2])
        #expect(bench.state.violation == nil)
    }

    @Test(
        "a report concerns the clusters that it names, and those that its runs were in; anything else those that it is about"
    )
    func change() throws {
        var bench = try bench()
        try bench.apply(.reportWorkflows(bench.report(1, started: [Bench.started("a")])))
        func change(_ operations: ManagementOperation...) -> ManagementChange {
            var change = ManagementChange()
            var after = bench.state
            #expect((try? after.apply(operations, time: 9)) != nil)
            change.note(operations, from: bench.state, to: after)
            return change
        }
        func group(_ number: UInt64) -> GroupID { bench.state.clusters[Bench.cluster(number)]!.group }
        #expect(ManagementChange().isEmpty)
        let own = change(.reportWorkflows(bench.report(1, started: [Bench.started("b")], ended: [Bench.ended("a")])))
        #expect(own == ManagementChange(isStructural: false, reported: [Bench.cluster(1)]))
        let moved = change(.reportWorkflows(bench.report(2, started: [Bench.started("a", epoch: 2)])))
        #expect(moved == ManagementChange(isStructural: false, reported: [Bench.cluster(1), Bench.cluster(2)]))
        var seal = bench.report(1)
        seal.sealEpoch = 1
        #expect(change(.reportWorkflows(seal)).groups == [group(1)] && change(.reportWorkflows(seal)).isStructural)
        let drained = change(.drainCluster(Bench.cluster(1), into: nil), .reportWorkflows(bench.report(2)))
        #expect(drained.isStructural && drained.groups == [group(1)] && !drained.hasNodes)
        let next = bench.state.nextGroup
        #expect(change(Bench.create(7, [1, 2, 3])).groups == [next])
        let all = Array(0..<SlotMap.count)
        let move = SlotMove(version: bench.state.slots.version, slots: all, home: group(2))
        #expect(change(.moveSlots(move)).groups == [bench.state.slots[0].home, group(2)])
        let removal = change(.removeNode(NodeID(1), instance: nil))
        #expect(removal.hasNodes && removal.groups == Set(bench.state.clusters(on: NodeID(1)).map(\.group)))
        #expect(change(.setPolicy(ExecutionClusterPolicy(targetClusterSize: 3))).groups.isEmpty)
    }

    @Test("a report that is repeated, late, or follows on one that was lost changes nothing; a whole one mends it")
    func gaps() throws {
        var bench = try bench()
        let first = bench.report(1, started: [Bench.started("a")])
        try bench.apply(.reportWorkflows(first))
        let second = bench.report(1, ended: [Bench.ended("a")])
        try bench.apply(.reportWorkflows(second), .reportWorkflows(first), .reportWorkflows(second))
        #expect(bench.located("a") == nil)
        var lost = bench.report(1, started: [Bench.started("b")])
        lost.after = LogIndex(7)
        lost.through = LogIndex(9)
        try bench.apply(.reportWorkflows(lost))
        #expect(bench.located("b") == nil)
        #expect(bench.state.clusters[Bench.cluster(1)]?.reportedThrough == LogIndex(2))
        lost.isWhole = true
        lost.started.append(Bench.started("c"))
        try bench.apply(.reportWorkflows(lost))
        #expect(bench.located("b") == Bench.cluster(1))
        var whole = bench.report(1, started: [Bench.started("c")])
        whole.isWhole = true
        try bench.apply(.reportWorkflows(whole))
        #expect(bench.located("b") == nil && bench.located("c") == Bench.cluster(1))
        #expect(bench.state.violation == nil)
    }

    @Test("a run that moved is where its later owner is, whichever cluster is heard first")
    func moved() throws {
        for isTargetFirst in [true, false] {
            var bench = try bench()
            let (one, two) = (Bench.cluster(1), Bench.cluster(2))
            try bench.apply(.reportWorkflows(bench.report(1, started: [Bench.started("a"), Bench.started("b")])))
            #expect(try bench.apply(.moveRuns(from: one, to: two, count: 2)) == nil)
            if !isTargetFirst { try bench.apply(.reportWorkflows(bench.report(1, ended: [Bench.ended("a")]))) }
            try bench.apply(.reportWorkflows(bench.report(2, started: [Bench.started("a", epoch: 3)])))
            if isTargetFirst { try bench.apply(.reportWorkflows(bench.report(1, ended: [Bench.ended("a")]))) }
            #expect(bench.located("a") == two && bench.located("b") == one)
            #expect(bench.state.clusters[one]?.outgoing == [two: 1])
            var old = bench.report(1, started: [Bench.started("a"), Bench.started("b")])
            old.isWhole = true
            try bench.apply(.reportWorkflows(old))
            #expect(bench.located("a") == two, "who has not heard of it yet")
            #expect(bench.state.violation == nil)
        }
    }

    @Test("TT-40: a cluster is idle since its last run ended, also where that was between two reports")
    func idle() throws {
        var bench = try bench()
        let id = Bench.cluster(1)
        #expect(bench.state.clusters[id]?.idleSince == 1_000)
        bench.time = 2_000
        try bench.apply(.reportWorkflows(bench.report(1, started: [Bench.started("a")])))
        #expect(bench.state.clusters[id]?.idleSince == nil)
        bench.time = 3_000
        try bench.apply(.reportWorkflows(bench.report(1, ended: [Bench.ended("a")])))
        bench.time = 4_000
        try bench.apply(.reportWorkflows(bench.report(1)))
        #expect(bench.state.clusters[id]?.idleSince == 3_000)
        var burst = bench.report(1)
        burst.endedWithin = 1
        try bench.apply(.reportWorkflows(burst))
        #expect(bench.state.clusters[id]?.idleSince == 4_000)
    }

    @Test("TT-08: a batch is due by count or by time, holds one report for each cluster, and tells the same")
    func batches() throws {
        var batch = WorkflowReportBatch()
        #expect(batch.dueAt == nil && batch.isEmpty)
        var (one, two) = (try bench(), try bench())
        var index: UInt64 = 0
        func report(
            _ cluster: UInt64, _ started: [WorkflowReport.Started] = [], _ ended: [WorkflowReport.Ended] = []
        ) -> WorkflowReport {
            index += 1
            return WorkflowReport(
                cluster: Bench.cluster(cluster), after: LogIndex(index - 1), through: LogIndex(index), started: started,
                ended: ended)
        }
        var reports = [
            report(1, [Bench.started("a"), Bench.started("b")]), report(1, [], [Bench.ended("a")]),
            report(1, [Bench.started("a", run: 2)]), report(1, [], [Bench.ended("a", run: 2)]),
            report(1, [Bench.started("a", run: 3)]),
        ]
        index = 0
        reports.append(report(2, [Bench.started("c")]))
        for (position, report) in reports.enumerated() {
            batch.add(report, at: 100 + Int64(position))
            try one.apply(.reportWorkflows(report))
        }
        #expect(batch.dueAt == 100 + WorkflowReportBatch.delay && batch.count == 3)
        let commands = batch.take()
        #expect(commands.count == 1)
        let taken = commands[0]
        #expect(taken.map(\.cluster) == [Bench.cluster(1), Bench.cluster(2)] && batch.isEmpty && batch.dueAt == nil)
        #expect(taken[0].endedWithin == 2)
        try two.apply(taken.map { .reportWorkflows($0) })
        #expect(one.state.serialize() == two.state.serialize())
        index = 0
        let many = report(1, (0..<WorkflowReportBatch.countLimit).map { Bench.started("\($0)") })
        batch.add(many, at: 7)
        #expect(batch.dueAt == 7)
    }

    @Test("TT-08: a command names a thousand runs at most, whatever the number of reports; one report stays whole")
    func commandSizes() {
        var batch = WorkflowReportBatch()
        let half = (0...WorkflowReportBatch.countLimit / 2).map { Bench.started("\($0)") }
        for cluster in 1...3 {
            batch.add(
                WorkflowReport(
                    cluster: Bench.cluster(UInt64(cluster)), after: .zero, through: LogIndex(9), started: half),
                at: 1)
        }
        let large = (0..<2 * WorkflowReportBatch.countLimit).map { Bench.started("\($0)") }
        batch.add(
            WorkflowReport(cluster: Bench.cluster(4), after: .zero, through: LogIndex(9), started: large), at: 1)
        for cluster in 5...6 {
            batch.add(
                WorkflowReport(
                    cluster: Bench.cluster(UInt64(cluster)), after: .zero, through: LogIndex(9), endedWithin: 3), at: 1)
        }
        let expected: [[UInt64]] = [[1], [2], [3], [4], [5, 6]]
        #expect(batch.take().map { $0.map(\.cluster) } == expected.map { $0.map(Bench.cluster) })
        #expect(batch.isEmpty)
    }
}
