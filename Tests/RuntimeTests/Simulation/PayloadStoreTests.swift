import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Results by reference.
@Suite("Stored payloads")
struct PayloadStoreTests {
    /// A bucket. It fails as often as it is told to.
    private actor Bucket: PayloadStore {
        struct Unreachable: Error {}

        private(set) var objects: [String: [UInt8]] = [:]
        private var failures = 0
        private let saboteur: Saboteur?

        init(_ saboteur: Saboteur? = nil) { self.saboteur = saboteur }

        func fail(_ count: Int) { failures = count }
        func change(_ change: ([UInt8]) -> [UInt8]?) { objects = objects.compactMapValues(change) }

        func write(_ bytes: [UInt8], as name: String) throws {
            try mayFail()
            saboteur?.pass("before write")
            objects[name] = bytes
            saboteur?.pass("during write")
        }

        func read(_ name: String) throws -> [UInt8]? {
            try mayFail()
            saboteur?.pass("before read")
            defer { saboteur?.pass("during read") }
            return objects[name]
        }

        private func mayFail() throws {
            if failures > 0 {
                failures -= 1
                throw Unreachable()
            }
        }
    }

    private static let frame = Array("frame ".utf8)
    private static let count = 2_000_000
    private static let video = Workflow("video", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> Int in
        var patience = RetryPolicy(attempts: 3)
        patience.delay = .milliseconds(10)
        let video = try await context.step("render", retry: patience) { step in
            try await step.store([[UInt8]](repeating: frame, count: count).flatMap { $0 })
        }
        try await context.sleep(for: .seconds(5))
        return try await context.step("publish", retry: patience) { step in
            let bytes = try await step.load(video)
            return bytes.count
        }
    }

    @Test(
        "a result of 12 MB is stored by one node and read by the next, compressed and encrypted, through failures of the store"
    )
    func failover() async throws {
        let bucket = Bucket()
        let cipher = try AESGCMCodec(keys: ["a": [UInt8](repeating: 7, count: 32)], current: "a")
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            configuration.codec = PayloadCoding([ZstandardCodec(), cipher])
            configuration.payloadStore = bucket
        }
        try await withSimulation(seed: 3, nodes: 3, workflows: [Self.video], configure: configure) { simulation in
            await bucket.fail(2)
            let run = try await simulation.submit(Self.video, id: "film", input: 1)
            try await simulation.wait(until: "it is rendered", within: .seconds(20)) {
                await !bucket.objects.isEmpty
            }
            let stored = try #require(await bucket.objects.first)
            #expect(stored.key == "\(SHA256Digest(of: stored.value))")
            #expect(stored.value.count < 100_000)
            let owner = try #require(try await simulation.owner(of: "film"))
            simulation.crash(owner, dropUnsynced: true)
            await bucket.fail(2)
            #expect(try await run.result() == Self.count * Self.frame.count)
            #expect(await bucket.objects.count == 1)
        }
    }

    @Test(
        "what one owner stores the next one reads, whenever the owner crashes at the writing or the reading",
        arguments: CrashMoment.allCases, ["write", "read"])
    func crashes(moment: CrashMoment, what: String) async throws {
        for seed in Simulation.seeds(3) {
            let saboteur = Saboteur(
                at: "\(moment) \(what)", after: .zero ... .milliseconds(moment == .after ? 8 : 0))
            let bucket = Bucket(saboteur)
            let bytes = (0..<1_000).map { UInt8($0 % 251) }
            let keeping = Workflow("keeping", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.sleep(for: .seconds(1))
                let stored = try await context.step("store") { try await $0.store(bytes) }
                saboteur.pass("after write")
                try await context.sleep(for: .seconds(1))
                let sum = try await context.step("load") { step in
                    try await step.load(stored).reduce(0) { $0 + Int($1) }
                }
                saboteur.pass("after read")
                try await context.step("last") { try await $0.clock.sleep(for: .milliseconds(20)) }
                return sum
            }
            let configure: @Sendable (inout NodeConfiguration) -> Void = { $0.payloadStore = bucket }
            try await withSimulation(seed: seed, nodes: 3, workflows: [keeping], configure: configure) { simulation in
                let run = try await simulation.submit(keeping, id: "a", input: 0)
                try await saboteur.aim(at: "a", simulation)
                try await saboteur.repair(simulation)
                #expect(try await run.result() == bytes.reduce(0) { $0 + Int($1) }, "seed \(seed)")
                #expect(await bucket.objects.map(\.value) == [bytes], "seed \(seed)")
                let known = try await simulation.ask { try await $0.describe("a") }
                #expect(known.steps.map(\.name) == ["store", "load", "last"] && known.epoch == 2, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test("what the store has lost, or changed, fails the step by name")
    func lost() async throws {
        for isLost in [true, false] {
            let bucket = Bucket()
            let configure: @Sendable (inout NodeConfiguration) -> Void = { $0.payloadStore = bucket }
            try await withSimulation(seed: 4, nodes: 1, workflows: [Self.video], configure: configure) { simulation in
                let run = try await simulation.submit(Self.video, id: "film", input: 1)
                try await simulation.wait(until: "it is rendered", within: .seconds(20)) {
                    await !bucket.objects.isEmpty
                }
                await bucket.change { isLost ? nil : $0 + [0] }
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                let failure = try #require(error?.failure)
                #expect(failure.message.contains(isLost ? "the payload store has no" : "gives other bytes"))
            }
        }
    }

    @Test("a node without a store says so")
    func none() async throws {
        let node = Node(NodeConfiguration(listen: "127.0.0.1:0", data: .memory), workflows: [])
        let error = await #expect(throws: WorkflowError.self) { try await node.store([1]) }
        #expect(error?.code == .payloadUnavailable)
    }

    @Test("a directory keeps bytes by their hash, whoever else writes them, and no other file is read by a name")
    func directory() async throws {
        let path = temporaryPath()
        defer { removeTree(path) }
        var coding = PayloadCoding.json
        coding.store = DirectoryPayloadStore("\(path)/payloads")
        // The first byte of what codecs make.
        let bytes: [UInt8] = [0xF8, 1, 2, 3]
        let names = try await withThrowingTaskGroup(of: StoredPayload.self) { [coding] tasks in
            for _ in 0..<8 { tasks.addTask { try await coding.write(bytes) } }
            return try await tasks.reduce(into: Set()) { $0.insert($1) }
        }
        let stored = try #require(names.first)
        #expect(names.count == 1 && stored.size == 4)
        #expect(try PosixFileSystem().list("\(path)/payloads") == [stored.name])
        #expect(try await coding.read(stored) == bytes)
        let empty = try await coding.write([])
        #expect(try await coding.read(empty) == [])
        let strange = StoredPayload(name: "../payloads/" + stored.name, size: 4, isEncoded: false)
        await #expect(throws: WorkflowError.self) { try await coding.read(strange) }
    }
}
