import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla
@testable import FlotillaActors

/// `flotilla storage verify` and the history of checkpoints.
@Suite struct CheckpointVerificationTests {
    private static let recording = Workflow("recording", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 0..<count {
            try await context.checkpoint("progress", number)
            try await context.checkpoint("other", "\(number)")
        }
        return count
    }

    private let files = PosixFileSystem()

    /// A node's data, with a snapshot that names checkpoints.
    private func withData(_ body: (String) async throws -> Void) async throws {
        let directory = temporaryPath()
        defer { removeTree(directory) }
        var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .directory(directory))
        configuration.groups.snapshotThreshold = 20
        try await withNode(configuration, workflows: [Self.recording]) { node async throws in
            #expect(try await node.start(Self.recording, id: "a", input: 40).result() == 40)
            #expect(try await node.start(Self.recording, id: "b", input: 5).result() == 5)
            // An old snapshot goes once the log names a newer one, which has all of both runs.
            let place = DataDirectory.snapshotDirectory(of: directory)
            for number in 0..<500 {
                _ = try await node.start(Self.recording, id: "c\(number)", input: 0).result()
                let names = try files.list(place).filter { $0.hasPrefix("2-") && $0.hasSuffix(".snap") }
                let indexes = names.compactMap { UInt64($0.split(separator: "-")[2]) }.sorted()
                if let first = indexes.first, first > 200 { break }
                try #require(number < 499, "no snapshot was named: \(names)")
            }
        }
        try await body(directory)
    }

    private func verify(_ directory: String) throws -> (StorageReport, CheckpointVerification) {
        var history = CheckpointVerification()
        let report = try StorageVerification.run(on: directory, files: files) { (report, stored) throws(LogError) in
            history = CheckpointVerification(of: report, stored, files: files)
            report.problems += history.problems
        }
        return (report, history)
    }

    private func change(_ directory: String, _ changes: [CheckpointChange]) throws {
        let store = try RocksDBCheckpointStore(directory: directory)
        defer { store.close() }
        try store.apply(changes)
        try store.sync()
    }

    private func anyKey(_ directory: String, where isWanted: (CheckpointKey) -> Bool) throws -> CheckpointKey {
        let store = try RocksDBCheckpointStore(directory: directory)
        defer { store.close() }
        var found: CheckpointKey?
        try store.visit { bytes, _ in
            if let key = CheckpointKey.decode(bytes)?.key, isWanted(key) { found = key }
        }
        return try #require(found)
    }

    @Test("a sound history is found sound, and counted")
    func sound() async throws {
        try await withData { directory in
            let (report, history) = try verify(directory)
            #expect(report.problems.isEmpty && report.snapshots > 0)
            #expect(history.runs == 2 && history.keys == 4 && history.records == 90)
            #expect(StorageCommands.text(of: report, history).contains("checkpoints: 90 of 4 keys of 2 runs"))
        }
    }

    @Test("records that a snapshot counts on and that are not there are named, with what can be done")
    func missing() async throws {
        try await withData { directory in
            let key = try anyKey(directory) { $0.run.run.workflowID.text == "a" && $0.name.text == "progress" }
            try change(directory, [.remove(key.run)])
            let (report, history) = try verify(directory)
            #expect(history.problems.count == 2 && report.problems.count == 2)
            #expect(history.problems.allSatisfy { $0.code == .damaged })
            let messages = history.problems.map(\.message).joined(separator: "\n")
            #expect(
                messages.contains("'progress' of") && messages.contains("those from 0 on are missing"), "\(messages)")
            #expect(messages.contains("\(directory)/checkpoints") && messages.contains("Remove this node"))
        }
    }

    @Test("a gap, a record that makes no sense and a damaged file are named")
    func damaged() async throws {
        try await withData { directory in
            let key = try anyKey(directory) { $0.name.text == "other" }
            try change(directory, [.append(key, CheckpointRecord(sequence: 90, value: [1], recordedAt: 1))])
            let (report, _) = try verify(directory)
            #expect(report.problems.count == 1 && report.problems[0].message.contains("to 89 of 'other'"))
            let path = DataDirectory.historyDirectory(of: directory)
            let table = try #require(try files.list(path).last { $0.hasSuffix(".sst") || $0.hasSuffix(".log") })
            let bytes = try files.readWhole("\(path)/\(table)")
            try files.open("\(path)/\(table)", create: false).write([bytes[20] ^ 1], at: 20)
            let (damaged, _) = try verify(directory)
            #expect(
                damaged.problems.contains { $0.code == .damaged && $0.message.contains(path) }, "\(damaged.problems)")
        }
    }

    @Test("a step that is in the history alone is missed there, and one that has no result is not")
    func missingStep() async throws {
        let looping = Workflow("looping", version: 1) { (count: Int, context: WorkflowContext) async throws -> Int in
            for number in 0..<count {
                do {
                    try await context.step("s") { _ in if number == 3 { throw CancellationError() } }
                } catch  where number == 3 {}
            }
            return count
        }
        let directory = temporaryPath()
        defer { removeTree(directory) }
        var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .directory(directory))
        configuration.groups.snapshotThreshold = 20
        configuration.limits.stepsInMemory = 2
        try await withNode(configuration, workflows: [looping]) { node async throws in
            #expect(try await node.start(looping, id: "a", input: 200).result() == 200)
            #expect(try await node.describe("a").earlierSteps == 197)
        }
        let (sound, history) = try verify(directory)
        #expect(sound.problems.isEmpty && sound.snapshots > 0 && history.records == 197)
        let key = try anyKey(directory) { $0.name.text == "$step/s" }
        var kept: [CheckpointChange] = []
        let store = try RocksDBCheckpointStore(directory: directory)
        for record in try store.history(of: key, from: 0, limit: .max, bytesMax: .max) where record.sequence != 7 {
            kept.append(.append(key, record))
        }
        store.close()
        try change(directory, [.remove(key.run)] + kept)
        let (damaged, _) = try verify(directory)
        #expect(damaged.problems.count == 1 && damaged.problems[0].message.contains("step s#7 of"))
    }

    @Test("keys come back from their bytes, and other bytes are no key")
    func keys() {
        let key = CheckpointKey(
            run: CheckpointRun(group: .underTest, run: RunKey("default", "a:b"), runID: RunID(high: 3, low: 4)),
            name: ByteText("näme"))
        let bytes = key.bytes(sequence: 77)
        let decoded = CheckpointKey.decode(bytes)
        #expect(decoded?.key == key && decoded?.sequence == 77)
        for count in bytes.indices { #expect(CheckpointKey.decode(Array(bytes.prefix(count))) == nil) }
        #expect(CheckpointKey.decode(bytes + [0]) == nil)
    }
}
