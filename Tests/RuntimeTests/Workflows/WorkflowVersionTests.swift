import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Versions side by side", .timeLimit(.minutes(5)))
struct WorkflowVersionTests {
    @Test("TT-55: a run of version 1 finishes on version 1 after version 2 was registered")
    func versions() async throws {
        try await withCluster { cluster in
            let one = Workflow("v", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                try await context.sleep(for: .seconds(10))
                return "one"
            }
            let two = Workflow("v", version: 2) {
                (_: Int, _: WorkflowContext) async throws -> String in "two"
            }
            let first = try cluster.start(1, [one])
            try await first.until { !$0.executors.isEmpty }
            _ = try await first.engine.start(one, id: "old", input: 0)
            try await first.until { $0.run("old")?.timers.count == 1 }
            let second = try cluster.start(2, [one, two])
            try await second.until { $0.executors.count == 2 }
            let new = try await first.engine.start(
                type: "v", version: nil, id: "new", input: Array("0".utf8))
            #expect(new.type.version == 2)
            #expect(try await second.engine.result(of: "new", as: String.self) == "two")
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(11))
            #expect(try await second.engine.result(of: "old", as: String.self) == "one")
            #expect(try await second.engine.describe("old").info.version == 1)
            // Without a version, the id's own run is found, not a conflict.
            let again = try await second.engine.start(
                type: "v", version: nil, id: "old", input: Array("0".utf8))
            #expect(again.existed && again.type.version == 1)
        }
    }

    @Test(
        "TT-55: a run whose version no live node has is parked with that reason, and goes on when one comes"
    )
    func parked() async throws {
        try await withCluster { cluster in
            let one = Workflow("v", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                let begun = try await context.step("begin") { _ in "one" }
                try await context.sleep(for: .seconds(10))
                return begun
            }
            let two = Workflow("v", version: 2) {
                (_: Int, _: WorkflowContext) async throws -> String in "two"
            }
            let first = try cluster.start(1, [one])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [two])
            try await second.until { $0.executors.count == 2 }
            _ = try await second.engine.start(one, id: "old", input: 0)
            try await second.until { $0.run("old")?.timers.count == 1 }
            first.die()
            try await cluster.lose(first, noticedBy: second)
            let info = try await second.engine.describe("old").info
            #expect(info.status == .parked && info.owner == nil)
            #expect(info.parkedReason?.contains("no live node has 'v' version 1") == true)
            // A start of what is known but not there is kept, too.
            _ = try await second.engine.start(one, id: "late", input: 0)
            #expect(
                try await second.engine.list(WorkflowFilter(status: .parked)).runs.map(\.workflowID)
                    == ["old", "late"])
            let third = try cluster.start(3, [one])
            try await third.until { $0.run("late")?.timers.count == 1 }
            cluster.clock.advance(by: .seconds(11))
            #expect(try await third.engine.result(of: "old", as: String.self) == "one")
            #expect(try await third.engine.result(of: "late", as: String.self) == "one")
        }
    }
}
