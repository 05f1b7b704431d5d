import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct RoutingTests {
    private func withFleet(
        groups: [GroupID], seed: UInt64, _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void
    ) async throws {
        _ = try await Simulation.run(seed: seed) { world in
            let fleet = SimulatedFleet(world, nodes: 2)
            fleet.groups = groups
            try await fleet.startAll()
            do {
                try await body(fleet)
            } catch {
                await fleet.stopAll()
                throw error
            }
            await fleet.stopAll()
        }
    }

    @Test("TT-15: ten groups between two nodes share one connection, and messages reach only their group")
    func oneConnection() async throws {
        let groups = (11...20).map { GroupID($0) }
        for seed in Simulation.seeds(3) {
            try await withFleet(groups: groups, seed: seed) { fleet in
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
                        #expect(numbers == [id.rawValue], "\(id) on \(node), seed \(seed)")
                    }
                }
                for node in [first, second] {
                    let core = fleet.cores[node]!
                    let links = await core.onLoop { core.transport.assumeIsolated { $0.links.count } }
                    #expect(links == 1, "\(node) has \(links) connections, seed \(seed)")
                }
            }
        }
    }

    @Test(
        "TT-16: a message for a group that is not hosted is answered, counted, and closes nothing; the sender backs off"
    )
    func unknownGroup() async throws {
        for seed in Simulation.seeds(3) {
            try await withFleet(groups: [SimulatedFleet.group], seed: seed) { fleet in
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
    }
}
