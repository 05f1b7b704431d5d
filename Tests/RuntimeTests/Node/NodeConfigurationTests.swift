import FlotillaActors
import FlotillaIO
import Foundation
import Testing

@testable import Flotilla

@Suite struct NodeConfigurationTests {
    @Test("RM-09: data lives in ./flotilla_data/{node id} by default, in a directory where one is named, or in memory")
    func dataLocations() {
        #expect(NodeConfiguration(id: 7, listen: "127.0.0.1:0").dataDirectory == "./flotilla_data/7")
        #expect(NodeConfiguration(listen: "127.0.0.1:0", data: .directory("/d")).dataDirectory == "/d")
        #expect(NodeConfiguration(listen: "127.0.0.1:0", data: .memory).dataDirectory == nil)
    }

    @Test("RM-09: a node in memory works, says so, and writes nothing; one with a directory writes there")
    func memoryAndDisk() async throws {
        let directory = temporaryPath()
        defer { removeTree(directory) }
        try await withNode(.init(listen: "127.0.0.1:0", data: .memory), workflows: [doubling]) { node async throws in
            #expect(try await node.start(doubling, id: "a", input: 21).result() == 42)
            #expect(try await node.status().warnings.contains { $0.contains("memory") })
        }
        #expect(PosixFileSystem().exists(directory) == false)
        for expected in [UInt64(1), 2] {
            try await withNode(.init(listen: "127.0.0.1:0", data: .directory(directory)), workflows: [doubling]) {
                node async throws in
                // The second life finds the run of the first.
                #expect(try await node.start(doubling, id: "a", input: 21).result() == 42)
                #expect(try await node.status().boot == expected)
                #expect(try await node.list().runs.count == 1)
            }
        }
        #expect(PosixFileSystem().exists(directory + "/log"))
    }

    @Test("a limit for results or inputs that no command can hold is refused by name, with the number that one can")
    func tooLargeLimits() throws {
        for path in [\NodeConfiguration.limits.resultBytesMax, \.limits.inputBytesMax] {
            var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .memory)
            configuration[keyPath: path] = WorkflowLimits.payloadBytesMax
            try configuration.validate()
            configuration[keyPath: path] += 1
            let error = #expect(throws: NodeError.self) { try configuration.validate() }
            #expect(error?.message.contains("\(WorkflowLimits.payloadBytesMax)") == true)
        }
    }

    @Test("RM-11: a node finds its runs again after its data was moved to another format, and keeps its place")
    func migratedData() async throws {
        let directory = temporaryPath()
        defer { removeTree(directory) }
        let places = ["a", "b", "c"].map { "\(directory)/\($0)" }
        var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .directory(places[0]))
        configuration.storage = .rocksDB
        configuration.groups.snapshotThreshold = 3
        try await withNode(configuration, workflows: [doubling]) { node async throws in
            #expect(try await node.start(doubling, id: "a", input: 21).result() == 42)
        }
        let files = PosixFileSystem()
        for (move, format) in [StorageFormat.log, .rocksDB].enumerated() {
            _ = try StorageMigration(from: places[move], to: places[move + 1], format: format, files: files).run()
            // The format is found by what is there.
            configuration.storage = nil
            configuration.data = .directory(places[move + 1])
            try await withNode(configuration, workflows: [doubling]) { node async throws in
                #expect(try await node.list().runs.count == move + 1)
                #expect(try await node.start(doubling, id: "b\(move)", input: 2).result() == 4)
            }
            #expect(DataDirectory.format(of: places[move + 1], files: files) == format)
        }
    }

    @Test("a node does not listen beyond loopback unless it is told that this is insecure")
    func loopbackOnly() async throws {
        for (listen, http) in [("0.0.0.0:0", nil), ("127.0.0.1:0", "10.0.0.1:0")] as [(String, String?)] {
            let error = await #expect(throws: NodeError.self) {
                try await withNode(.init(listen: listen, http: http, data: .memory), workflows: []) { _ in }
            }
            #expect(error?.code == .invalidConfiguration)
            #expect(error?.message.contains("--insecure") == true)
        }
    }

    @Test("what is wrong with a start is named: node id 0, a port in use, another node's data, a directory in use")
    func failedStarts() async throws {
        await #expect(throws: NodeError.self) {
            try await withNode(.init(id: 0, listen: "127.0.0.1:0", data: .memory), workflows: []) { _ in }
        }
        let directory = temporaryPath()
        defer { removeTree(directory) }
        try await withNode(.init(listen: "127.0.0.1:0", data: .directory(directory)), workflows: []) {
            node async throws in
            let address = try await node.addresses().peers
            let taken = await #expect(throws: NodeError.self) {
                try await withNode(.init(id: 2, listen: address, data: .memory), workflows: []) { _ in }
            }
            #expect(taken?.code == .listenFailed)
            #expect(taken?.message.contains(address) == true, "\(String(describing: taken))")
            let used = await #expect(throws: NodeError.self) {
                try await withNode(.init(listen: "127.0.0.1:0", data: .directory(directory)), workflows: []) { _ in }
            }
            #expect(used?.code == .dataUnusable)
        }
        let wrong = await #expect(throws: NodeError.self) {
            try await withNode(.init(id: 2, listen: "127.0.0.1:0", data: .directory(directory)), workflows: []) { _ in }
        }
        #expect(wrong?.message.contains("node 1") == true, "\(String(describing: wrong))")
    }

    @Test("nodes are stopped by leaving the scope, also when its body throws; a node runs once")
    func scopes() async throws {
        struct Planned: Error {}
        await #expect(throws: Planned.self) {
            try await withNode(.init(listen: "127.0.0.1:0", data: .memory), workflows: []) { _ in throw Planned() }
        }
        let node = Node(.init(id: 0, listen: "127.0.0.1:0", data: .memory), workflows: [])
        await #expect(throws: NodeError.self) { try await node.run() }
        let again = await #expect(throws: NodeError.self) { try await node.run() }
        #expect(again?.code == .alreadyRunning)
    }

    @Test("when a node's scope ends, no thread, descriptor or task of it is left")
    func nothingLeft() async throws {
        // In a process of its own: other tests of this one start and stop things all the time.
        await #expect(processExitsWith: .success) {
            try await withNode(.init(listen: "127.0.0.1:0", http: "127.0.0.1:0", data: .memory), workflows: [doubling])
            { node async throws in
                _ = try await node.start(doubling, id: "warm up", input: 1).result()
            }
            let before = (threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd"))
            for round in 0..<20 {
                try await withNode(
                    .init(listen: "127.0.0.1:0", http: "127.0.0.1:0", data: .memory), workflows: [doubling, waiting]
                ) { node async throws in
                    _ = try await node.start(doubling, id: "a", input: round).result()
                    // Stopped in the middle of a sleep of an hour.
                    _ = try await node.start(waiting, id: "b", input: round)
                }
            }
            precondition(Bodies.running.withLock { $0 } == 0, "a workflow's task goes on")
            let after = (threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd"))
            // The pool of the runtime may have grown by a thread or two; twenty nodes would be sixty.
            precondition(after.threads <= before.threads + 4, "threads: \(before.threads), then \(after.threads)")
            precondition(
                after.descriptors <= before.descriptors + 2,
                "descriptors: \(before.descriptors), then \(after.descriptors)")
        }
    }
}

/// Bodies of `waiting` that have begun and not ended.
enum Bodies {
    static let running = Lock(0)
}

private let doubling = Workflow("doubling", version: 1) { (number: Int, context: WorkflowContext) async throws -> Int in
    try await context.step("double") { _ in number * 2 }
}

private let waiting = Workflow("waiting", version: 1) { (number: Int, context: WorkflowContext) async throws -> Int in
    Bodies.running.withLock { $0 += 1 }
    defer { Bodies.running.withLock { $0 -= 1 } }
    try await context.sleep(for: .seconds(3_600))
    return number
}

private func entries(_ directory: String) -> Int {
    (try? PosixFileSystem().list(directory).count) ?? -1
}

func temporaryPath() -> String { "/tmp/flotilla-test-\(UInt64.random(in: .min ... .max))" }

func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
