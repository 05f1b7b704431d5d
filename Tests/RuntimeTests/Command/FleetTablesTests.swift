import FlotillaIO
import Testing

@testable import Flotilla

@Suite("Tables of the fleet")
struct FleetTablesTests {
    private func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: Array(text.utf8)) }

    @Test("a node is a line with role, state, clusters and runs; what it waits for stands below")
    func nodes() throws {
        let nodes = try json(
            #"[{"id":1,"role":"voter","isDraining":false,"clusters":2,"load":3.25,"address":"a:1","http":"a:2","#
                + #""labels":{"zone":"b"}},"#
                + #"{"id":12,"role":"learner","isDraining":true,"silentFor":7.9,"clusters":0,"load":0,"#
                + #""address":"b:1","http":"","labels":{},"waitsFor":["is drained"]}]"#)
        #expect(
            FleetTables.nodes(nodes.elements) == """
                NODE  ROLE     STATE                 CLUSTERS  RUNS  PEERS  HTTP  LABELS
                   1  voter    ok                           2   3.3  a:1    a:2   zone=b
                  12  learner  silent 7 s, draining         0     0  b:1

                Under way:
                  node 12: is drained

                """)
    }

    @Test("a cluster is a line under as much of its id as tells it from the others; what is stuck stands below")
    func clusters() throws {
        let clusters = try json(
            #"[{"id":"018bcfe5-6800-7000-8000-000000000001","group":16,"phase":"active","leader":2,"#
                + #""members":[{"node":1},{"node":2},{"node":3},{"node":7}],"workflows":4,"slots":4096,"#
                + #""createdAt":"2026-01-01T00:00:00.000000Z"},"#
                + #"{"id":"018bcfe5-6801-7000-8000-000000000001","group":17,"phase":"draining","#
                + #""members":[{"node":4},{"node":5}],"workflows":0,"slots":0,"pinnedType":"t","#
                + #""createdAt":"2026-01-01T00:00:01.000000Z","problem":"it has no quorum","waitsFor":["drains"]}]"#)
        #expect(
            FleetTables.clusters(clusters.elements) == """
                CLUSTER        GROUP  PHASE     LEADER  MEMBERS  RUNS  SLOTS  CREATED              TYPE
                018bcfe5-6800     16  active         2  1-3,7       4   4096  2026-01-01T00:00:00
                018bcfe5-6801     17  draining          4,5         0      0  2026-01-01T00:00:01  t

                Stuck:
                  cluster 018bcfe5-6801: it has no quorum

                Under way:
                  cluster 018bcfe5-6801: drains

                """)
    }

    @Test(
        "node numbers in a row are a range from three on",
        arguments: [
            ([], ""), ([4], "4"), ([1, 2], "1,2"), ([1, 2, 3], "1-3"), ([1, 3, 4, 5, 6, 9], "1,3-6,9"),
        ] as [([Int64], String)])
    func ranges(numbers: [Int64], text: String) { #expect(FleetTables.ranges(numbers) == text) }

    @Test("fifty nodes and forty clusters take a line each")
    func large() async throws {
        let cluster = try FleetJSON.value(try await FakeNode().fleet().clusters[0])
        let node = try FleetJSON.value(nodes: try await FakeNode().fleet().nodes)["nodes"]!.elements[0]
        #expect(FleetTables.nodes(Array(repeating: node, count: 50)).split(separator: "\n").count == 51)
        let lines = FleetTables.clusters(Array(repeating: cluster, count: 40)).split(separator: "\n")
        #expect(lines.first { $0.hasPrefix("Stuck") } != nil)
        #expect(lines.allSatisfy { $0.count <= 160 }, "\(lines.max { $0.count < $1.count } ?? "")")
    }

    @Test("a policy is shown by the options that change it")
    func policy() {
        let text = FleetTables.policy(PolicyField.value(of: ExecutionClusterPolicy()))
        #expect(text.contains("max-workflows") && text.contains("  20  "))
        #expect(text.contains("pinned-types") && text.contains("  none  "))
        #expect(text.split(separator: "\n").count == PolicyField.all.count)
    }

    @Test(
        "durations are written in the largest unit that fits",
        arguments: ["1ms", "1500ms", "90s", "5m", "36h", "7d", "0s"])
    func durations(text: String) throws {
        let duration = try #require(DurationText.parse(text, limit: DurationText.ageLimit))
        #expect(DurationText.text(duration) == text)
    }
}

@Suite("Options of the policy")
struct PolicyOptionTests {
    private func members(_ words: String) throws -> [String: JSONValue] {
        let description = CommandDescription("flotilla policy set", summary: "", options: PolicyCommands.options)
        let options = try description.parse(words.split(separator: " ").map(String.init))
        return try PolicyCommands.members(try #require(options))
    }

    @Test("TT-26: every field has an option, and options become fields")
    func fields() throws {
        let words =
            "--max-workflows 40 --cluster-size 3 --strategy leastLoaded --rebalance-threshold 0.5 --load-limit 1 --rebalance-period 1m "
            + "--idle-ttl 0s --ready-clusters 2 --single-below 0 --member-timeout 1m --voter-timeout 10s --voters 5 "
            + "--voter-selection manager=yes --spread-label rack --pinned-types a,b"
        let members = try members(words)
        var policy = ExecutionClusterPolicy()
        try PolicyField.apply(members, to: &policy)
        #expect(policy.maximumWorkflowsPerCluster == 40 && policy.targetClusterSize == 3)
        #expect(policy.strategy == .leastLoaded && policy.rebalanceThreshold == 0.5 && policy.loadLimit == 1)
        #expect(policy.idleTimeToLive == .zero && policy.readyClusters == 2 && policy.singleClusterBelow == 0)
        #expect(policy.rebalancePeriod == .seconds(60))
        #expect(policy.memberFailureTimeout == .seconds(60) && policy.voterFailureTimeout == .seconds(10))
        #expect(policy.targetVoterCount == 5 && policy.voterSelection == .labelled(NodeLabel("manager", "yes")))
        #expect(policy.spreadLabel == "rack" && policy.pinnedTypes == ["a", "b"])
        let named = words.split(separator: " ").filter { $0.hasPrefix("--") }.count
        #expect(named == members.count && named == PolicyField.all.count, "each field has its option here")
        #expect(try self.members("--voters automatic --voter-selection 1,2,3").count == 2)
    }

    @Test(
        "what does not fit is named with what would",
        arguments: [
            ("--max-workflows many", "--max-workflows many: write N"),
            ("--strategy best", "--strategy best: write roundRobin"),
            ("--idle-ttl 300", "--idle-ttl 300: write DURATION"), ("--cluster-size 9", "1 to 7 members"),
            ("--voters 4", "an odd number"), ("--voter-selection 1,x", "--voter-selection 1,x: write automatic"),
        ])
    func refused(words: String, message: String) throws {
        let error = #expect(throws: UsageError.self) { try members(words) }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
    }
}
