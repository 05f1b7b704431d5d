import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct RoutingTests {
    @Test("TT-15: ten groups between two nodes share one connection, and messages reach only their group")
    func oneConnection() async throws {
        let groups = (11...20).map { GroupID($0) }
        try await withFleets(nodes: 2, seeds: 3, groups: groups) { fleet in
            let (first, second) = (NodeID(1), NodeID(2))
            for id in groups {
                let group = try await fleet.cores[second]!.hosted.group(id)
                _ = try await group.propose([Journal.operation(id.rawValue)], ownerEpoch: 0)
            }
            for id in groups {
                for node in [first, second] {
                    let group = try await fleet.cores[node]!.hosted.group(id)
                    try await group.barrier()
                    let numbers = try await group.withState { ($0 as? Journal)?.numbers ?? [] }
                    #expect(numbers == [id.rawValue], "\(id) on \(node)")
                }
            }
            for node in [first, second] {
                let core = fleet.cores[node]!
                let links = await core.onLoop { core.transport.assumeIsolated { $0.links.count } }
                #expect(links == 1, "\(node) has \(links) connections")
            }
        }
    }

    @Test(
        "TT-16: a message for a group that is not hosted is answered, counted, and closes nothing; the sender backs off"
    )
    func unknownGroup() async throws {
        try await withFleets(nodes: 2, seeds: 3) { fleet in
            let (first, second) = (fleet.cores[NodeID(1)]!, fleet.cores[NodeID(2)]!)
            _ = try await fleet.group(NodeID(2))
            // A leader that believes that node 2 hosts a group that it has never heard of.
            let stranger = GroupID(4_711)
            let send: @Sendable () async -> Void = {
                await first.onLoop {
                    let message = RoutedMessage(
                        group: stranger, incarnation: 1, kind: .benchmark,
                        message: Message(
                            from: ReplicaID(1), to: ReplicaID(2), term: Term(1),
                            body: .vote(.init(lastIndex: .zero, lastTerm: .zero, isTransfer: false))))
                    var writer = PeerFrameWriter()
                    writer.add(.message(message))
                    let payload = writer.take()
                    _ = first.transport.assumeIsolated { $0.send(payload, to: NodeID(2)) }
                }
            }
            await send()
            try await fleet.world.sleep(for: .milliseconds(50))
            let received = await second.onLoop { second.scheduler.assumeIsolated { $0.counters().unknownGroups } }
            #expect(received == 1, "the receiver counts it")
            let sender = await first.onLoop {
                first.scheduler.assumeIsolated { scheduler in
                    (
                        answers: scheduler.counters().unknownGroupAnswers,
                        isBackingOff: scheduler.isBackingOff(stranger, NodeID(2)),
                        isOtherGroupFree: !scheduler.isBackingOff(SimulatedFleet.group, NodeID(2))
                    )
                }
            }
            #expect(sender.answers == 1, "the sender is told")
            #expect(sender.isBackingOff && sender.isOtherGroupFree)
            let isConnected = await first.onLoop {
                first.transport.assumeIsolated { $0.isConnected(to: NodeID(2)) }
            }
            #expect(isConnected, "the connection stays")
            // The next refusal makes it wait longer; a group that answers ends it.
            let firstDelay = await first.onLoop {
                first.scheduler.assumeIsolated { $0.backoffs.values.first?.delay }
            }
            await send()
            try await fleet.world.sleep(for: .milliseconds(50))
            let secondDelay = await first.onLoop {
                first.scheduler.assumeIsolated { $0.backoffs.values.first?.delay }
            }
            #expect(secondDelay! == firstDelay! * 2)
            _ = try await fleet.group(NodeID(2)).propose([Journal.operation(1)], ownerEpoch: 0)
            let error = TransportError(code: .groupNotFound, group: stranger, node: NodeID(2))
            #expect("\(error)" == "groupNotFound: node 2 does not host group 4711")
        }
    }

    @Test("a node's question reaches another one, and its answer whoever asked, however many ask")
    func questions() async throws {
        try await withFleets(nodes: 2, seeds: 3) { fleet in
            let (first, second) = (fleet.cores[NodeID(1)]!, fleet.cores[NodeID(2)]!)
            try await fleet.waitForVoters(1)
            await #expect(throws: NodeRequestError(code: .refused, node: NodeID(2))) {
                _ = try await first.ask(NodeID(2), [1], timeout: .seconds(1))
            }
            await second.setRequestHandler { question in
                question.answer(question.body.reversed() + [UInt8(question.node.rawValue)])
            }
            try await withThrowingTaskGroup(of: Bool.self) { tasks in
                for number in UInt8(0)..<100 {
                    tasks.addTask {
                        try await first.ask(NodeID(2), [number, 7], timeout: .seconds(1)) == [7, number, 1]
                    }
                }
                for try await isRight in tasks { #expect(isRight) }
            }
            await #expect(throws: NodeRequestError(code: .notConnected, node: NodeID(9))) {
                _ = try await first.ask(NodeID(9), [], timeout: .seconds(1))
            }
            let large = [UInt8](repeating: 0, count: Transport.requestBytesMax + 1)
            await #expect(throws: NodeRequestError(code: .tooLarge, node: NodeID(2))) {
                _ = try await first.ask(NodeID(2), large, timeout: .seconds(1))
            }
        }
    }

    @Test("a question that is not answered in time, whose connection breaks or whose node stops has an unknown outcome")
    func unansweredQuestions() async throws {
        try await withFleets(nodes: 2, seeds: 3) { fleet in
            let (first, second) = (fleet.cores[NodeID(1)]!, fleet.cores[NodeID(2)]!)
            try await fleet.waitForVoters(1)
            await second.setRequestHandler { _ in }
            let unknown = NodeRequestError(code: .unknownOutcome, node: NodeID(2))
            let before = fleet.world.now
            await #expect(throws: unknown) { _ = try await first.ask(NodeID(2), [1], timeout: .seconds(1)) }
            #expect(before.duration(to: fleet.world.now) < .seconds(2))
            for end in 0..<2 {
                await withTaskGroup(of: Void.self) { tasks in
                    tasks.addTask {
                        await #expect(throws: unknown) {
                            _ = try await first.ask(NodeID(2), [1], timeout: .seconds(60))
                        }
                    }
                    try? await fleet.world.sleep(for: .milliseconds(100))
                    if end == 0 { await fleet.crash(NodeID(2), .killed) } else { await first.stop() }
                }
                if end == 0 {
                    try await fleet.start(NodeID(2))
                    try await fleet.world.sleep(for: .seconds(2))
                    await fleet.cores[NodeID(2)]!.setRequestHandler { _ in }
                }
            }
            #expect(before.duration(to: fleet.world.now) < .seconds(30))
        }
    }
}
