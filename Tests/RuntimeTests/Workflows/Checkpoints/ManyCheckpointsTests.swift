import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Foundation
import Testing

@testable import Flotilla

/// A run with more checkpoints than anyone wants in memory, on real nodes with real disks. FLOTILLA_CHECKPOINTS=100000
/// for the long form, which prints what it took.
@Suite struct ManyCheckpointsTests {
    private static let count = ProcessInfo.processInfo.environment["FLOTILLA_CHECKPOINTS"].flatMap { Int($0) } ?? 2_000
    private static let filler = String(repeating: "x", count: 1_000)

    private static let recording = Workflow("recording", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 0..<count { try await context.checkpoint("progress", "\(number) \(filler)") }
        return count
    }

    private func configuration(_ id: UInt64, _ directory: String, join: [String] = []) -> NodeConfiguration {
        var configuration = NodeConfiguration(
            id: id, listen: "127.0.0.1:0", data: .directory("\(directory)/\(id)"), join: join)
        configuration.groups.snapshotThreshold = min(10_000, Self.count / 5)
        configuration.groups.entriesKeptBehindSnapshot = 100
        return configuration
    }

    private func expectWholeHistory(_ node: Node) async throws {
        var (number, next) = (0, UInt64?(0))
        while let start = next {
            let page = try await node.checkpoints("progress", of: "a", from: start, limit: 1_000)
            for checkpoint in page.checkpoints {
                let prefix = Array("\"\(number) x".utf8)
                #expect(checkpoint.value.starts(with: prefix) && checkpoint.number == UInt64(number))
                number += 1
            }
            next = page.next
        }
        #expect(number == Self.count)
    }

    /// The same as the history of the run tells it.
    private func expectMergedHistory(_ node: Node) async throws {
        var (number, after) = (UInt64(0), String?.none)
        repeat {
            let page = try await node.history(of: "a", after: after, limit: 1_000)
            for event in page.events {
                #expect(event.name == "progress" && event.occurrence == number && event.bytes > 1_000)
                number += 1
            }
            after = page.next
        } while after != nil
        #expect(number == UInt64(Self.count))
    }

    @Test("RM-20: a run with many checkpoints takes bounded memory, and its history survives restart and transfer")
    func manyCheckpoints() async throws {
        let directory = temporaryPath()
        defer { removeTree(directory) }
        try await withNode(configuration(1, directory), workflows: [Self.recording]) { node async throws in
            // Code and caches that every run needs are there before it is measured.
            _ = try await node.start(Self.recording, id: "first", input: 500).result()
            let before = Self.residentKilobytes()
            let start = ContinuousClock.now
            #expect(try await node.start(Self.recording, id: "a", input: Self.count).result() == Self.count)
            let time = ContinuousClock.now - start
            let grown = Self.residentKilobytes() - before
            print(
                "\(Self.count) checkpoints of 1 kB in \(time): resident memory \(before / 1024) MB before, "
                    + "\(grown / 1024) MB more after, \(Self.residentKilobytes("VmHWM") / 1024) MB at most")
            #expect(grown < 200 << 10, "\(grown) kB for \(Self.count) kB of checkpoints")
            #expect(try await node.list().runs.map(\.workflowID) == ["first", "a"])
            let reading = ContinuousClock.now
            try await expectWholeHistory(node)
            print("read back in \(ContinuousClock.now - reading), \(Self.residentKilobytes("VmHWM") / 1024) MB at most")
            try await expectMergedHistory(node)
        }
        try await withNode(configuration(1, directory), workflows: [Self.recording]) { first async throws in
            try await expectWholeHistory(first)
            #expect(try await first.describe("a").checkpoints.map(\.count) == [UInt64(Self.count)])
            let address = try await first.running().address
            try await withNode(configuration(2, directory, join: [address]), workflows: []) { second async throws in
                while try await second.status().ready != true { try await Task.sleep(for: .milliseconds(20)) }
                try await expectWholeHistory(second)
                let group = try #require(second.current?.core.hosted[NodeStart.executionGroup.group])
                #expect(try await group.report().snapshotsInstalled > 0)
            }
        }
    }

    private static func residentKilobytes(_ figure: String = "VmRSS") -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix(figure + ":") }
        return line.flatMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } } ?? 0
    }
}
