import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

struct Order: Codable, Sendable, Equatable {
    var id: Int
}

struct PaymentDeclined: Error, CustomStringConvertible {
    var description: String { "no money" }
}

@Suite("Running workflows", .timeLimit(.minutes(5)))
struct WorkflowRunTests {
    @Test("a workflow runs its steps in order and gives its result on every node")
    func completes() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("order", version: 1) {
                (order: Order, context: WorkflowContext) async throws -> Int in
                let a = try await context.step("a") { step in
                    ledger.append("a", step)
                    return order.id + 1
                }
                try await context.step("nothing") { ledger.append("nothing", $0) }
                return try await context.step("b") { step in
                    ledger.append("b", step)
                    return a * 2
                }
            }
            let first = try cluster.start(1, [workflow])
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            let run = try await first.engine.start(workflow, id: "order-1", input: Order(id: 20))
            #expect(try await run.result() == 42)
            #expect(try await second.engine.result(of: "order-1", as: Int.self) == 42)
            #expect(ledger.effects.map(\.name) == ["a", "nothing", "b"])
            #expect(
                ledger.effects.map(\.key) == ["a", "nothing", "b"].map { "\(run.runID)/\($0)/0" })
            #expect(ledger.effects.allSatisfy { $0.token == 1 })
        }
    }

    @Test("a name may come again and again, and each occurrence is a step")
    func occurrences() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("loop", version: 1) {
                (count: Int, context: WorkflowContext) async throws -> Int in
                var sum = 0
                for number in 0..<count { sum += try await context.step("add") { _ in number } }
                return sum
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "loop", input: 400)
            #expect(try await run.result() == 400 * 399 / 2)
            // The latest are told at once, and the history has all.
            let described = try await node.engine.describe("loop")
            #expect(described.steps.map(\.occurrence) == Array(128..<400) && described.earlierSteps == 128)
            let events = try await node.engine.wholeHistory(of: "loop").events
            #expect(events.map(\.occurrence) == Array(0..<400))
        }
    }

    @Test("steps run in parallel, in async let and in task groups")
    func parallel() async throws {
        try await withCluster { cluster in
            let (left, right) = (Promise<Void>(), Promise<Void>())
            let workflow = Workflow("fan", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [Int] in
                // Each waits for the other to have begun: one after the other would never end.
                async let a = context.step("left") { _ in
                    left.fulfill(())
                    try await right.wait()
                    return 1
                }
                async let b = context.step("right") { _ in
                    right.fulfill(())
                    try await left.wait()
                    return 2
                }
                let pair = try await [a, b]
                let squares = try await withThrowingTaskGroup(of: Int.self) { group in
                    for number in 0..<20 {
                        group.addTask {
                            try await context.step("square-\(number)") { _ in number * number }
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                return pair + squares.sorted()
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "fan", input: 0)
            #expect(try await run.result() == [1, 2] + (0..<20).map { $0 * $0 })
        }
    }

    @Test("two running steps of one name fail the run with a named error")
    func duplicateStep() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("twice", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("same") { _ in
                    try await context.step("same") { _ in 1 }
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "twice", input: 0)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.code == .failed)
            #expect(error?.failure?.type == "WorkflowError.duplicateStep")
            #expect(error?.failure?.message.contains("'same'") == true)
        }
    }

    @Test("a body that catches the error of a duplicate step goes on")
    func duplicateStepCaught() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("twice", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                try await context.step("same") { _ in
                    do {
                        return try await context.step("same") { _ in "inner" }
                    } catch let error as WorkflowError {
                        return error.code.rawValue
                    }
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "twice", input: 0)
            #expect(try await run.result() == "duplicateStep")
        }
    }

    @Test(
        "what a body throws is recorded with its type and read on every node; a step's error is not recorded"
    )
    func failure() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("pay", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                do {
                    return try await context.step("pay") { step -> Int in
                        ledger.append("pay", step)
                        throw PaymentDeclined()
                    }
                } catch is PaymentDeclined {
                    return try await context.step("pay") { step -> Int in
                        ledger.append("pay", step)
                        throw PaymentDeclined()
                    }
                }
            }
            let first = try cluster.start(1, [workflow])
            let second = try cluster.start(2, [workflow])
            try await second.until { $0.executors.count == 2 }
            _ = try await first.engine.start(workflow, id: "pay", input: 0)
            let outcome = try await second.engine.outcome(of: "pay")
            #expect(
                outcome == .failed(WorkflowFailure(type: "PaymentDeclined", message: "no money")))
            #expect(ledger.effects.map { $0.key.suffix(6) } == ["/pay/0", "/pay/1"])
            let description = try await first.engine.describe("pay")
            #expect(description.steps.isEmpty)
            #expect(description.info.status == .failed)
            #expect(description.failure?.type == "PaymentDeclined")
        }
    }

    @Test("a result, a checkpoint or an output above the limit is a named error")
    func tooLarge() async throws {
        try await withCluster { cluster in
            var limits = WorkflowLimits()
            limits.resultBytesMax = 100
            let text = String(repeating: "x", count: 99)  // 101 bytes of JSON
            let step = Workflow("step", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                _ = try await context.step("big") { _ in text }
                return 1
            }
            let checkpoint = Workflow("checkpoint", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.checkpoint("big", text)
                return 1
            }
            let output = Workflow("output", version: 1) {
                (_: Int, _: WorkflowContext) async throws -> String in text
            }
            let caught = Workflow("caught", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                do {
                    return try await context.step("big") { _ in text }
                } catch {
                    return try await context.step("small") { _ in String(text.dropLast()) }
                }
            }
            let node = try cluster.start(1, [step, checkpoint, output, caught], limits: limits)
            try await node.until { !$0.executors.isEmpty }
            for type in ["step", "checkpoint", "output"] {
                _ = try await node.engine.start(
                    type: type, version: 1, id: type, input: Array("0".utf8))
                guard case .failed(let failure) = try await node.engine.outcome(of: type) else {
                    Issue.record("\(type) did not fail")
                    continue
                }
                #expect(failure.type == "WorkflowError.resultTooLarge", "\(type): \(failure)")
            }
            let run = try await node.engine.start(caught, id: "caught", input: 0)
            #expect(try await run.result().count == 98)
        }
    }

    @Test("a result that the group finds too large is the same named error")
    func tooLargeForGroup() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("big", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("big") { _ in 1 }
            }
            cluster.setFault { _, operation in
                if case .recordStep = operation {
                    .fail(GroupError(.tooLarge, "8 bytes"))
                } else {
                    nil
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "big", input: 0)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.failure?.type == "WorkflowError.resultTooLarge")
        }
    }

    @Test("an input that does not decode fails the run with a named error")
    func undecodableInput() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("order", version: 1) {
                (order: Order, _: WorkflowContext) async throws -> Int in order.id
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(
                type: "order", version: 1, id: "bad", input: Array(#"{"id":"x"}"#.utf8))
            guard case .failed(let failure) = try await node.engine.outcome(of: "bad") else {
                Issue.record("the run did not fail")
                return
            }
            #expect(failure.type == "WorkflowError.undecodableInput")
            #expect(failure.message.contains("'order' version 1"))
        }
    }

    @Test("names that are empty, too long or reserved are refused")
    func names() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("names", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                var refused = 0
                for name in ["", "$now", String(repeating: "x", count: 257)] {
                    do {
                        _ = try await context.step(name) { _ in 1 }
                    } catch let error as WorkflowError where error.code == .invalidName {
                        refused += 1
                    }
                }
                return refused
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "names", input: 0)
            #expect(try await run.result() == 3)
        }
    }

    @Test("a context that outlives its run records nothing")
    func contextAfterEnd() async throws {
        try await withCluster { cluster in
            let leaked = Lock<WorkflowContext?>(nil)
            let workflow = Workflow("leak", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                leaked.withLock { $0 = context }
                return 1
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "leak", input: 0)
            #expect(try await run.result() == 1)
            let context = try #require(leaked.withLock { $0 })
            let error = await #expect(throws: (any Error).self) {
                try await context.step("late") { _ in 1 }
            }
            #expect(error is WorkflowError || error is CancellationError)
            #expect(try await node.engine.describe("leak").steps.isEmpty)
        }
    }

    @Test("proposals that the group turns away are made again, and recorded once")
    func retries() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("retry", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                let a = try await context.step("a") { _ in 1 }
                try await context.sleep(for: .milliseconds(1))
                try await context.checkpoint("c", 5)
                return a
            }
            let seen = Lock<[WorkflowOperation: Int]>([:])
            cluster.setFault { _, operation in
                let count = seen.withLock { seen in
                    seen[operation, default: 0] += 1
                    return seen[operation] ?? 0
                }
                if case .startRun = operation { return nil }
                return switch count {
                case 1: .fail(GroupError(.overloaded, "full"))
                case 2: .commitAndFail(GroupError(.timedOut, "no answer"))
                default: nil
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "retry", input: 0)
            #expect(try await run.result() == 1)
            let description = try await node.engine.describe("retry")
            #expect(description.steps.map(\.name) == ["a"])
            #expect(description.checkpoints.count == 1)
            #expect(description.timers.map(\.hasFired) == [true])
        }
    }

    @Test("a group that has stopped ends the engine, and those who wait hear of it")
    func groupStopped() async throws {
        try await withCluster { cluster in
            let begun = Promise<Void>()
            let workflow = Workflow("stop", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                begun.fulfill(())
                return try await context.step("a") { _ in 1 }
            }
            cluster.setFault { _, operation in
                if case .recordStep = operation {
                    .fail(GroupError(.stopped, "disk failed"))
                } else {
                    nil
                }
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "stop", input: 0)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.code == .stopped)
            await node.engineEnded()
            let status = try await node.withMachine { $0.run("stop")?.status }
            #expect(status == .running)
        }
    }
}
