import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("The management state", .timeLimit(.minutes(5)))
struct ManagementStateTests {
    private typealias Bench = ManagementBench

    @Test("TT-04, TT-30: a cluster is created with 3 to 5 known nodes, which all begin with one configuration")
    func creation() throws {
        var bench = try Bench(nodes: 10)
        #expect(try bench.apply(Bench.create(1, [1, 2])) == .invalidSize)
        #expect(try bench.apply(Bench.create(1, Array(1...8))) == .invalidSize)
        #expect(try bench.apply(Bench.create(1, [1, 2, 2])) == .invalidSize)
        #expect(try bench.apply(Bench.create(1, [1, 2, 11])) == .unknownNode)
        #expect(bench.state.clusters.count == 0)
        #expect(try bench.apply(Bench.create(1, [3, 1, 2])) == nil)
        #expect(try bench.apply(Bench.create(1, [3, 1, 2])) == nil, "the same request again")
        #expect(try bench.apply(Bench.create(1, [4, 1, 2])) == .duplicateCluster)
        #expect(try bench.apply(Bench.create(2, [1, 2, 3, 4, 5])) == nil)
        let first = try #require(bench.state.clusters[Bench.cluster(1)])
        #expect(first.foundingChange.operations == [3, 1, 2].map { .addVoter(NodeID($0)) })
        #expect(first.incarnation == 1 && first.group != bench.state.clusters[Bench.cluster(2)]?.group)
        var policy = ExecutionClusterPolicy()
        policy.targetClusterSize = 2
        #expect(try bench.apply(.setPolicy(policy), Bench.create(3, [1, 2])) == nil, "TT-44: a policy may want two")
    }

    @Test("a group's number is never issued again, and a fleet of two has a cluster of two")
    func groupNumbers() throws {
        var bench = try Bench(nodes: 2)
        try bench.apply(.createCommonCluster)
        #expect(try bench.apply(Bench.create(1, [1])) == .invalidSize)
        #expect(try bench.apply(Bench.create(1, [1, 2])) == nil)
        let group = try #require(bench.state.clusters[Bench.cluster(1)]?.group)
        #expect(try bench.apply(.destroyCluster(Bench.cluster(1), sealEpoch: 0, isForced: true)) == nil)
        #expect(try bench.apply(Bench.create(1, [1, 2])) == nil)
        #expect(bench.state.clusters[Bench.cluster(1)]?.group == GroupID(group.rawValue + 1))
    }

    @Test("TT-05: a cluster is destroyed once its own log says that it is empty, in the epoch that is named")
    func destruction() throws {
        var bench = try Bench(nodes: 3)
        try bench.apply(.createCommonCluster)
        try bench.apply(Bench.create(1, [1, 2, 3]))
        let id = Bench.cluster(1)
        func destroy(_ epoch: UInt64) -> ManagementOperation {
            .destroyCluster(id, sealEpoch: epoch, isForced: false)
        }
        try bench.apply(.reportWorkflows(bench.report(1, started: [Bench.started("a")])))
        #expect(try bench.apply(destroy(0)) == .notSealed)
        #expect(try bench.apply(.drainCluster(id, into: nil)) == nil)
        #expect(try bench.apply(destroy(1)) == .notSealed, "empty by nothing but hearsay")
        var sealed = bench.report(1, ended: [Bench.ended("a")])
        sealed.sealEpoch = 1
        #expect(try bench.apply(.reportWorkflows(sealed)) == nil)
        #expect(try bench.apply(.resumeCluster(id)) == .clusterClosed)
        #expect(try bench.apply(.associateNode(id, NodeID(1), .learner)) == .clusterClosed)
        #expect(try bench.apply(destroy(2)) == .notSealed)
        #expect(try bench.apply(destroy(1)) == nil)
        #expect(try bench.apply(destroy(1)) == .unknownCluster)
        #expect(
            bench.state.memberships.values.allSatisfy { $0 == [ExecutionCluster.common] }
                && bench.state.violation == nil)
    }

    @Test("a cluster that workflow ids are at home in is not destroyed, not even by force, until they have moved")
    func homes() throws {
        var bench = try Bench(nodes: 3)
        try bench.apply(Bench.create(1, [1, 2, 3]), Bench.create(2, [1, 2, 3]))
        let destroy = ManagementOperation.destroyCluster(Bench.cluster(1), sealEpoch: 0, isForced: true)
        #expect(try bench.apply(destroy) == .hasSlots)
        let home = try #require(bench.state.clusters[Bench.cluster(2)]?.group)
        let all = Array(0..<SlotMap.count)
        #expect(try bench.apply(.moveSlots(.init(version: 1, slots: all, home: GroupID(9)))) == .unknownGroup)
        #expect(try bench.apply(.moveSlots(.init(version: 1, slots: [4_096], home: home))) == .invalidSlots)
        #expect(try bench.apply(.moveSlots(.init(version: 0, slots: all, home: home))) == .staleSlotMap)
        #expect(try bench.apply(.moveSlots(.init(version: 1, slots: all, home: home))) == nil)
        #expect(bench.state.slots.version == 2 && bench.state.slots[7].home == home && bench.state.slots[7].epoch == 2)
        #expect(try bench.apply(destroy) == nil)
    }

    @Test("TT-06, TT-07, TT-30: nodes come and go, and a founder that left does not found its cluster again")
    func membership() throws {
        var bench = try Bench(nodes: 5)
        let id = Bench.cluster(1)
        try bench.apply(Bench.create(1, [1, 2, 3]))
        #expect(try bench.apply(.associateNode(id, NodeID(9), .learner)) == .unknownNode)
        #expect(try bench.apply(.associateNode(id, NodeID(4), .learner)) == nil)
        #expect(bench.state.clusters[id]?.learners == [NodeID(4)])
        #expect(
            try bench.apply(.associateNode(id, NodeID(4), .voter), .disassociateNode(id, NodeID(1))) == nil)
        #expect(bench.state.clusters[id]?.voters == [2, 3, 4].map(NodeID.init))
        #expect(bench.state.memberships[NodeID(1)] == nil)
        #expect(try bench.apply(.disassociateNode(id, NodeID(1))) == .unknownNode)
        #expect(try bench.apply(.associateNode(id, NodeID(1), .voter)) == nil)
        let members = try #require(bench.state.clusters[id]?.members)
        #expect(members.filter(\.value.isFounder).keys.sorted() == [2, 3].map(NodeID.init))
        try bench.apply(.disassociateNode(id, NodeID(1)), .disassociateNode(id, NodeID(2)))
        #expect(
            try bench.apply(.disassociateNode(id, NodeID(3)), .disassociateNode(id, NodeID(4))) == .lastVoter)
        #expect(bench.state.clusters[id]?.members.count == 2, "all of a command or nothing")
    }

    @Test("a node that is removed leaves its clusters, and one that is to leave gets no new places")
    func leaving() throws {
        var bench = try Bench(nodes: 4)
        try bench.apply(Bench.create(1, [1, 2, 3]))
        #expect(try bench.apply(.drainNode(NodeID(4), isDraining: true)) == nil)
        #expect(try bench.apply(.associateNode(Bench.cluster(1), NodeID(4), .learner)) == .nodeDraining)
        #expect(try bench.apply(Bench.create(2, [2, 3, 4])) == .nodeDraining)
        #expect(try bench.apply(.removeNode(NodeID(1), instance: 5)) == .unknownNode)
        #expect(try bench.apply(.removeNode(NodeID(1), instance: 1)) == nil)
        #expect(bench.state.clusters[Bench.cluster(1)]?.voters == [2, 3].map(NodeID.init))
        #expect(bench.state.nodes[NodeID(2)]?.role == .voter, "somebody votes in the management group")
        try bench.apply(.removeNode(NodeID(2), instance: nil))
        #expect(try bench.apply(.removeNode(NodeID(3), instance: nil)) == .lastVoter)
        #expect(bench.state.violation == nil)
    }

    @Test("TT-09: roles in the management group change together, and leave an odd number of voters")
    func roles() throws {
        var bench = try Bench(nodes: 5)
        #expect(bench.state.nodes.values.filter { $0.role == .voter }.map(\.node) == [NodeID(1)])
        #expect(try bench.apply(.changeNodeRole(NodeID(2), .voter)) == .invalidVoters)
        #expect(try bench.apply(.changeNodeRole(NodeID(2), .voter), .changeNodeRole(NodeID(3), .voter)) == nil)
        #expect(
            try bench.apply(.changeNodeRole(NodeID(2), .learner), .changeNodeRole(NodeID(3), .learner))
                == .invalidVoters, "three of five nodes at least")
        #expect(try bench.apply(.changeNodeRole(NodeID(3), .learner), .changeNodeRole(NodeID(4), .voter)) == nil)
        #expect(try bench.apply(.changeNodeRole(NodeID(9), .learner)) == .unknownNode)
        var again = Bench.node(4)
        again.address = "elsewhere:1"
        #expect(try bench.apply(.registerNode(again)) == nil)
        #expect(bench.state.nodes[NodeID(4)]?.role == .voter && bench.state.nodes[NodeID(4)]?.address == "elsewhere:1")
        #expect(try bench.apply(.registerNode(Bench.node(4, instance: 2))) == .duplicateNode)
    }

    @Test("TT-26: a policy has the defaults that are documented, and one that makes no sense is refused")
    func policies() throws {
        var bench = try Bench(nodes: 1)
        let policy = ExecutionClusterPolicy()
        #expect(policy.maximumWorkflowsPerCluster == 20 && policy.targetClusterSize == 5)
        #expect(policy.strategy == .roundRobin && policy.rebalanceThreshold == 0.3)
        #expect(policy.idleTimeToLive == .seconds(300) && policy.readyClusters == 0)
        #expect(policy.voterCount(nodes: 19) == 3 && policy.voterCount(nodes: 20) == 5)
        let wrong: [(inout ExecutionClusterPolicy) -> Void] = [
            { $0.maximumWorkflowsPerCluster = 0 }, { $0.targetClusterSize = 8 }, { $0.rebalanceThreshold = .nan },
            { $0.rebalanceThreshold = 0 }, { $0.idleTimeToLive = .seconds(-1) }, { $0.readyClusters = -1 },
            { $0.loadLimit = 2 },
            { $0.targetVoterCount = 4 },
        ]
        for change in wrong {
            var policy = policy
            change(&policy)
            #expect(policy.problem != nil)
        }
        var even = policy
        even.targetVoterCount = 2
        #expect(try bench.apply(.setPolicy(even)) == .invalidPolicy)
        #expect(bench.state.policy == policy)
    }

    @Test("an operation, a version or a field of a newer binary stops the group by name, and nothing is applied")
    func unknown() throws {
        let bench = try Bench(nodes: 3)
        let before = bench.state.serialize()
        let good = Bench.create(1, [1, 2, 3]).encoded
        var more = ProtobufWriter()
        more.varint(99, 1)
        let cases: [(ApplyError.Code, Operation)] = [
            (.unknownCommand, Operation(type: 99, version: 1, body: [])),
            (.unknownVersion, Operation(type: 5, version: 2, body: good.body)),
            (.unknownField, Operation(type: 5, version: 1, body: good.body + more.bytes)),
            (.unknownField, Operation(type: 13, version: 1, body: more.bytes)),
            (.damagedCommand, Operation(type: 5, version: 1, body: Array(good.body.dropLast()))),
            (.damagedCommand, Operation(type: 7, version: 1, body: [])),
        ]
        for (code, operation) in cases {
            let command = Command(
                kind: .management, request: bench.log[0].0.request, timestamp: 1, operations: [good, operation])
            let error = #expect(throws: ApplyError.self) {
                try bench.machine.apply(command, at: LogIndex(9), time: 1)
            }
            #expect(error?.code == code, "\(operation)")
        }
        #expect(bench.state.serialize() == before)
        for bytes in [before + more.bytes, Array(before.dropLast())] {
            #expect(throws: ApplyError.self) {
                try bench.machine.restore(bytes, formatVersion: ManagementStateMachine.formatVersion)
            }
        }
        #expect(throws: ApplyError.self) { try bench.machine.restore(before, formatVersion: 99) }
        #expect(bench.state.serialize() == before)
    }

    @Test("every operation comes out of its encoding as it went in")
    func encoding() throws {
        let (one, two) = (Bench.cluster(1), Bench.cluster(2))
        var policy = ExecutionClusterPolicy()
        policy.pinnedTypes = ["a", ""]
        policy.targetVoterCount = 5
        policy.idleTimeToLive = .zero
        policy.voterSelection = .fixed([NodeID(1), NodeID(2)])
        var labelled = policy
        labelled.voterSelection = .labelled(NodeLabel("manager", "yes"))
        var node = Bench.node(1, labels: [NodeLabel("zone", "a"), NodeLabel("", "")])
        (node.role, node.isDraining) = (.voter, true)
        let report = WorkflowReport(
            cluster: one, after: LogIndex(3), through: LogIndex(9), isWhole: true,
            started: [Bench.started("a"), Bench.started("", type: "")], ended: [Bench.ended("b")], endedWithin: 3,
            sealEpoch: 4)
        let operations: [ManagementOperation] = [
            .registerNode(node), .removeNode(NodeID(1), instance: nil), .removeNode(NodeID(1), instance: 7),
            .createCommonCluster,
            .raiseFeatureLevel(3), Bench.create(1, [3, 1, 2]), Bench.create(1, [1], pinned: "p"),
            .destroyCluster(one, sealEpoch: 3, isForced: true), .associateNode(one, NodeID(1), .learner),
            .disassociateNode(one, NodeID(1)), .reportWorkflows(report), .changeNodeRole(NodeID(1), .voter),
            .setPolicy(policy), .setPolicy(labelled), .setPolicy(ExecutionClusterPolicy()),
            .moveSlots(SlotMove(version: 1, slots: [0, 5, 4_095], home: GroupID(2))),
            .drainCluster(one, into: nil), .drainCluster(one, into: two), .resumeCluster(one),
            .moveRuns(from: one, to: two, count: 4), .drainNode(NodeID(1), isDraining: true),
            .drainNode(NodeID(1), isDraining: false),
        ]
        for operation in operations { #expect(try ManagementOperation(operation.encoded) == operation) }
    }
}
