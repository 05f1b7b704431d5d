import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

/// Two nodes with one connection between them, from 1 to 2.
private struct Pair: Sendable {
    let world: SimulationWorld
    let client: SimulatedProcess
    let server: SimulatedProcess
    let near = RecordingDelegate()
    let far = RecordingDelegate()
    let connection: any FrameConnection

    init(_ world: SimulationWorld) async throws {
        self.world = world
        client = world.start(NodeID(1))
        server = world.start(NodeID(2))
        try await listen(on: server, port: 7000, far)
        connection = await connect(client, "sim-2:7000", near)
        let (near, far) = (near, far)
        try await world.wait(until: "both ends are open", within: .seconds(1)) {
            near.opened == 1 && far.connection != nil
        }
    }

    func send(_ count: Int, from number: UInt8 = 0) async {
        let connection = connection
        await client.loop.perform {
            for index in 0..<count {
                _ = connection.send([number &+ UInt8(truncatingIfNeeded: index)])
            }
        }
    }

    /// Longer than any frame is under way.
    func settle() async throws { try await world.sleep(for: .seconds(2)) }
}

@discardableResult
private func listen(
    on process: SimulatedProcess, port: UInt16, _ delegate: RecordingDelegate
) async throws -> any NetworkListener {
    try await process.loop.perform {
        Result<any NetworkListener, any Error> {
            try process.network.listen(
                on: "sim-\(process.node.rawValue):\(port)", loop: process.loop
            ) { connection in
                process.loop.preconditionOnLoop()
                connection.delegate = delegate
                delegate.connection = connection
            }
        }
    }.get()
}

private func connect(
    _ process: SimulatedProcess, _ address: String, _ delegate: RecordingDelegate
) async -> any FrameConnection {
    await process.loop.perform {
        process.network.connect(to: address, loop: process.loop, delegate: delegate)
    }
}

@Suite struct SimulatedNetworkTests {
    @Test("frames arrive whole, once and in order, both ways, after a delay within the bounds")
    func delivery() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            world.links.conditions = LinkConditions(delay: .milliseconds(10)...(.milliseconds(20)))
            let pair = try await Pair(world)
            let before = world.now
            await pair.send(100)
            try await world.wait(until: "a frame arrived", within: .seconds(1)) {
                !pair.far.received.isEmpty
            }
            let delay = before.duration(to: world.now)
            #expect(delay >= .milliseconds(10) && delay <= .milliseconds(21))
            try await pair.settle()
            #expect(pair.far.received == (0..<100).map { [UInt8($0)] })
            await pair.server.loop.perform { _ = pair.far.connection?.send([1, 2, 3]) }
            try await pair.settle()
            #expect(pair.near.received == [[1, 2, 3]])
            #expect(world.links.counts.delivered == 101)
        }
    }

    @Test("frames sent before the connection is open wait for it")
    func earlyFrames() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let (client, server) = (world.start(NodeID(1)), world.start(NodeID(2)))
            let (near, far) = (RecordingDelegate(), RecordingDelegate())
            try await listen(on: server, port: 1, far)
            await client.loop.perform {
                let connection = client.network.connect(
                    to: "sim-2:1", loop: client.loop, delegate: near)
                #expect(connection.send([9]))
            }
            try await world.sleep(for: .seconds(2))
            #expect(far.received == [[9]])
        }
    }

    @Test(
        "a link loses, doubles and reorders frames at its rates", arguments: [1, 2, 3] as [UInt64])
    func faults(seed: UInt64) async throws {
        _ = try await Simulation.run(seed: seed) { world in
            let pair = try await Pair(world)
            world.links.setConditions(LinkConditions(loss: 0.3), from: NodeID(1), to: NodeID(2))
            await pair.send(200)
            try await pair.settle()
            let lossy = pair.far.received
            #expect((100..<180).contains(lossy.count))
            #expect(lossy.map { $0[0] } == lossy.map { $0[0] }.sorted())
            pair.far.received = []

            world.links.setConditions(
                LinkConditions(duplication: 0.5), from: NodeID(1), to: NodeID(2))
            await pair.send(200)
            try await pair.settle()
            #expect((250..<350).contains(pair.far.received.count))
            #expect(Set(pair.far.received).count == 200)
            pair.far.received = []

            world.links.setConditions(
                LinkConditions(reorders: true), from: NodeID(1), to: NodeID(2))
            await pair.send(200)
            try await pair.settle()
            let mixed = pair.far.received.map { $0[0] }
            #expect(mixed.count == 200)
            #expect(mixed != mixed.sorted())
            pair.far.received = []

            world.links.setConditions(nil, from: NodeID(1), to: NodeID(2))
            await pair.send(200)
            try await pair.settle()
            #expect(pair.far.received.map { $0[0] } == (0..<200).map { UInt8($0) })
        }
    }

    @Test("a cut holds in one direction, also for frames under way, and ends when healed")
    func asymmetricCut() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            await pair.send(5)
            world.links.cut(from: NodeID(1), to: NodeID(2))
            await pair.send(5, from: 50)
            await pair.server.loop.perform { _ = pair.far.connection?.send([7]) }
            try await pair.settle()
            #expect(pair.far.received.isEmpty)
            #expect(pair.near.received == [[7]])
            #expect(world.links.counts.lost == 10)
            world.links.heal(from: NodeID(1), to: NodeID(2))
            await pair.send(1, from: 99)
            try await pair.settle()
            #expect(pair.far.received == [[99]])
            #expect(pair.near.closed.isEmpty && pair.far.closed.isEmpty)
        }
    }

    @Test("a partition separates its groups and leaves the nodes of one group together")
    func partition() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let processes = (1...3).map { world.start(NodeID($0)) }
            let delegate = RecordingDelegate()
            try await listen(on: processes[1], port: 1, delegate)
            world.links.partition([[NodeID(1), NodeID(2)], [NodeID(3)]])
            let (inside, outside) = (RecordingDelegate(), RecordingDelegate())
            _ = await connect(processes[0], "sim-2:1", inside)
            _ = await connect(processes[2], "sim-2:1", outside)
            try await world.sleep(for: .seconds(2))
            #expect(inside.opened == 1)
            #expect(outside.opened == 0)
            #expect(outside.closed.map(\.?.code) == [.connectFailed])
            world.links.healAll()
            let healed = RecordingDelegate()
            _ = await connect(processes[2], "sim-2:1", healed)
            try await world.sleep(for: .seconds(2))
            #expect(healed.opened == 1)
        }
    }

    @Test("connecting fails by name: nobody listens, no machine, no such address")
    func connectFailures() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let (client, _) = (world.start(NodeID(1)), world.start(NodeID(2)))
            let delegates = (0..<3).map { _ in RecordingDelegate() }
            let start = world.now
            _ = await connect(client, "sim-2:1", delegates[0])
            _ = await connect(client, "sim-9:1", delegates[1])
            _ = await connect(client, "elsewhere:1", delegates[2])
            try await world.wait(until: "the refusal came", within: .milliseconds(100)) {
                !delegates[0].closed.isEmpty
            }
            #expect(delegates[0].closed[0]?.message.contains("refuses") == true)
            try await world.wait(until: "the time limit came", within: .seconds(2)) {
                !delegates[1].closed.isEmpty
            }
            #expect(start.duration(to: world.now) >= world.links.connectTimeout)
            #expect(
                delegates.map { $0.closed.map(\.?.code) } == [
                    [.connectFailed], [.connectFailed], [.invalidAddress],
                ])
            #expect(delegates.allSatisfy { $0.opened == 0 })
        }
    }

    @Test("a listener takes a free port, holds it alone, and lets go of it")
    func listening() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let process = world.start(NodeID(1))
            let first = try await listen(on: process, port: 0, RecordingDelegate())
            let second = try await listen(on: process, port: 0, RecordingDelegate())
            #expect(first.address != second.address)
            #expect(first.address.hasPrefix("sim-1:"))
            let fixed = try await listen(on: process, port: 5, RecordingDelegate())
            await #expect(throws: NetworkError.self) {
                try await listen(on: process, port: 5, RecordingDelegate())
            }
            await process.loop.perform {
                fixed.close()
                fixed.close()
            }
            try await listen(on: process, port: 5, RecordingDelegate())
        }
    }

    @Test("closing is heard by both ends exactly once, behind the frames that were sent before")
    func closing() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            await pair.send(50)
            await pair.client.loop.perform {
                pair.connection.close()
                pair.connection.close()
                #expect(!pair.connection.send([1]))
                #expect(
                    pair.near.closed.isEmpty, "the end is reported later, not from within close")
            }
            try await pair.settle()
            #expect(pair.near.closed == [nil])
            #expect(pair.far.closed == [nil])
            #expect(pair.far.received.count == 50)
        }
    }

    @Test("a paused receiver gets its frames and then the end, once it goes on")
    func closingWhilePaused() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            pair.server.pause()
            await pair.send(3)
            await pair.client.loop.perform { pair.connection.close() }
            try await pair.settle()
            #expect(pair.far.received.isEmpty && pair.far.closed.isEmpty)
            pair.server.resume()
            try await pair.settle()
            #expect(pair.far.received.count == 3)
            #expect(pair.far.closed == [nil])
        }
    }

    @Test("no frame arrives before the connection is open, not even one sent while it is accepted")
    func greeting() async throws {
        for seed in 0..<30 as Range<UInt64> {
            _ = try await Simulation.run(seed: seed) { world in
                world.links.conditions = LinkConditions(reorders: true)
                let (client, server) = (world.start(NodeID(1)), world.start(NodeID(2)))
                let (near, far) = (RecordingDelegate(), RecordingDelegate())
                let listener = try await server.loop.perform {
                    Result<any NetworkListener, any Error> {
                        try server.network.listen(on: "sim-2:1", loop: server.loop) { connection in
                            connection.delegate = far
                            for _ in 0..<5 { #expect(connection.send([5])) }
                        }
                    }
                }.get()
                _ = await connect(client, "sim-2:1", near)
                try await world.sleep(for: .seconds(2))
                #expect(near.openedAfter == 0, "seed \(seed)")
                #expect(near.received.count == 5, "seed \(seed)")
                withExtendedLifetime(listener) {}
            }
        }
    }

    @Test("a full write queue refuses frames and reports when it has drained to half")
    func writeQueue() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            world.links.writeQueueLimit = 10_000
            world.links.conditions = LinkConditions(bandwidth: 1_000_000)
            let accepted = await pair.client.loop.perform {
                var accepted = 0
                while pair.connection.send([UInt8](repeating: 0, count: 1000)) { accepted += 1 }
                return accepted
            }
            #expect(accepted == 11)
            #expect(pair.near.writable == 0)
            let before = world.now
            try await world.wait(until: "writable again", within: .seconds(1)) {
                pair.near.writable == 1
            }
            #expect(before.duration(to: world.now) >= .milliseconds(6))
            try await pair.settle()
            #expect(pair.near.writable == 1)
            #expect(pair.far.received.count == 11)
        }
    }

    @Test(
        "a killed process resets its connections; its own ends hear of it too, and cannot begin anew"
    )
    func killed() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            pair.server.end(.killed)
            try await pair.settle()
            #expect(pair.near.closed.map(\.?.code) == [.connectionLost])
            #expect(pair.far.closed.map(\.?.code) == [.connectionLost])
            await #expect(throws: NetworkError.self) {
                try await listen(on: pair.server, port: 1, RecordingDelegate())
            }
            let late = RecordingDelegate()
            _ = await connect(pair.server, "sim-1:1", late)
            try await pair.settle()
            #expect(late.closed.map(\.?.code) == [.shutDown])
        }
    }

    @Test(
        "the peer of a machine that went dark hears nothing until that machine is back and gets a frame"
    )
    func dark() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            pair.server.end(.powerLost(.dropped))
            await pair.send(1)
            try await pair.settle()
            #expect(pair.near.closed.isEmpty)
            _ = world.start(NodeID(2))
            try await pair.settle()
            #expect(pair.near.closed.isEmpty)
            await pair.send(1)
            try await pair.settle()
            #expect(pair.near.closed.map(\.?.code) == [.connectionLost])
            #expect(pair.far.received.isEmpty)
        }
    }

    @Test("a reset link closes the connections between two nodes on both sides")
    func reset() async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let pair = try await Pair(world)
            world.links.reset(NodeID(2), NodeID(1))
            try await pair.settle()
            #expect(pair.near.closed.map(\.?.code) == [.connectionLost])
            #expect(pair.far.closed.map(\.?.code) == [.connectionLost])
        }
    }
}
