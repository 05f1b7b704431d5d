import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Taking over", .timeLimit(.minutes(5)))
struct WorkflowTakeoverTests {
    static let stepCount = 5
    static let names = (0..<stepCount).map { "step-\($0)" }

    /// A chain of steps with effects on a ledger.
    static func chain(_ ledger: Ledger) -> Workflow<Int, [Int]> {
        Workflow("chain", version: 1) {
            (first: Int, context: WorkflowContext) async throws -> [Int] in
            var results: [Int] = []
            for name in names {
                let last = results.last ?? first
                results.append(
                    try await context.step(name) { step in
                        ledger.append(name, step)
                        return last + 1
                    })
            }
            return results
        }
    }

    enum Moment: CaseIterable { case beforeRecord, afterRecord }

    @Test(
        "TT-56: the owner dies between any two steps: the run completes, and only the step in flight may run twice",
        arguments: 0...stepCount, Moment.allCases)
    func takeover(position: Int, moment: Moment) async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Self.chain(ledger)
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            cluster.setFault { node, operation in
                guard node == first.node else { return nil }
                let isTheOne =
                    switch operation {
                    case .recordStep(_, let step, _, _, _):
                        position < Self.stepCount && step.name.text == Self.names[position]
                    case .finishRun: position == Self.stepCount
                    default: false
                    }
                guard isTheOne else { return nil }
                return moment == .beforeRecord ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.start(workflow, id: "chain", input: 0)
            #expect(try await second.withMachine { $0.run("chain")?.owner } == first.node)
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            let result = try await second.engine.result(of: "chain", as: [Int].self)
            #expect(result == Array(1...Self.stepCount))
            for (index, name) in Self.names.enumerated() {
                let effects = ledger.effects.filter { $0.name == name }
                guard index == position, moment == .beforeRecord else {
                    #expect(effects.count == 1, "\(name)")
                    continue
                }
                // In flight when the owner died: run again, and both can tell.
                #expect(effects.count == 2, "\(name)")
                #expect(Set(effects.map(\.key)).count == 1)
                #expect(effects.map(\.token) == [1, 2])
            }
            let hash = try await first.withMachine { $0.stateHash }
            cluster.reconnect(first)
            let hashes = try await (
                first.withMachine { $0.stateHash }, second.withMachine { $0.stateHash }
            )
            #expect(hashes.0 == hashes.1)
            #expect(hash != hashes.0 || (position == Self.stepCount && moment == .afterRecord))
        }
    }

    @Test("a sleep that began under one owner ends under the next, at its first deadline")
    func sleepAcrossOwners() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("nap", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [Int64] in
                let before = try await context.now("before")
                try await context.sleep(for: .seconds(3600))
                let after = try await context.now("after")
                try await context.step("wake") { ledger.append("wake", $0) }
                return [before.nanoseconds, after.nanoseconds]
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            _ = try await second.engine.start(workflow, id: "nap", input: 0)
            try await first.until { $0.run("nap")?.timers.count == 1 }
            cluster.clock.advance(by: .seconds(3000))
            first.die()
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.outcome(of: "nap", timeout: .zero) == nil)
            cluster.clock.advance(by: .seconds(601))
            let times = try await second.engine.result(of: "nap", as: [Int64].self)
            let slept = times[1] - times[0]
            #expect(slept >= 3600 * 1_000_000_000)
            #expect(slept < 4000 * 1_000_000_000)
            #expect(ledger.effects.map(\.token) == [2])
            let timers = try await second.engine.describe("nap").timers
            #expect(timers.count == 1 && timers[0].hasFired)
            let firings = cluster.log.count { entry in
                entry.command.operations.contains {
                    (try? WorkflowOperation($0)).map {
                        if case .fireTimer = $0 { true } else { false }
                    } ?? false
                }
            }
            #expect(firings == 1)
        }
    }

    @Test("now, random and uuid keep their values after a takeover")
    func recordedValues() async throws {
        try await withCluster { cluster in
            let seen = Lock<[[String]]>([])
            let workflow = Workflow("values", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [String] in
                var values = [
                    try await context.now().nanoseconds.description,
                    try await context.random().description,
                ]
                values += [
                    try await context.uuid(), try await context.uuid(),
                    try await context.random("dice").description,
                ]
                seen.withLock { [values] in $0.append(values) }
                try await context.sleep(for: .seconds(10))
                return values
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            _ = try await second.engine.start(workflow, id: "values", input: 0)
            try await second.until { $0.run("values")?.timers.count == 1 }
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(11))
            let result = try await second.engine.result(of: "values", as: [String].self)
            #expect(seen.withLock { $0 } == [result, result])
            #expect(Set(result).count == 5)
            #expect(result[2].split(separator: "-").map(\.count) == [8, 4, 4, 4, 12])
        }
    }

    @Test(
        "TT-20: a checkpoint's value and history are read after the owner is lost, and a replay writes none twice"
    )
    func checkpoints() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("progress", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [Int?] in
                var seen: [Int?] = [try await context.checkpoint("percent", as: Int.self)]
                for percent in [10, 20, 30] {
                    try await context.checkpoint("percent", percent)
                    seen.append(try await context.checkpoint("percent", as: Int.self))
                }
                try await context.sleep(for: .seconds(10))
                try await context.checkpoint("percent", 100)
                return seen
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            let third = try cluster.start(3, [workflow])
            try await first.until { $0.executors.count == 3 }
            _ = try await second.engine.start(workflow, id: "progress", input: 0)
            try await first.until { $0.run("progress")?.timers.count == 1 }
            first.die()
            try await cluster.lose(first, noticedBy: second)
            #expect(
                try await third.engine.checkpoint("percent", of: "progress", as: Int.self) == 30)
            #expect(try await third.engine.checkpoint("other", of: "progress", as: Int.self) == nil)
            cluster.clock.advance(by: .seconds(11))
            #expect(
                try await third.engine.result(of: "progress", as: [Int?].self) == [nil, 10, 20, 30])
            #expect(try await third.engine.describe("progress").checkpoints.map(\.count) == [4])
            let history = try await third.engine.checkpoints("percent", of: "progress")
            #expect(
                history.checkpoints.map { String(decoding: $0.value, as: UTF8.self) } == [
                    "10", "20", "30", "100",
                ])
            #expect(history.checkpoints.map(\.number) == [0, 1, 2, 3] && history.next == nil)
            let page = try await third.engine.checkpoints("percent", of: "progress", from: 1, limit: 2)
            #expect(page.checkpoints.map(\.number) == [1, 2] && page.next == 3)
            #expect(
                try await third.engine.checkpoint("percent", of: "progress", as: Int.self) == 100)
        }
    }

    @Test("an owner that was cut off and does not know it records nothing, and stops when it hears")
    func cutOffOwner() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let (begun, mayGoOn) = (Promise<Void>(), Promise<Void>())
            let workflow = Workflow("cut", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                try await context.step("who") { step in
                    ledger.append("who", step)
                    if step.fencingToken == 1 {
                        begun.fulfill(())
                        try await mayGoOn.wait()
                        return "first"
                    }
                    return "second"
                }
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            _ = try await second.engine.start(workflow, id: "cut", input: 0)
            try await begun.wait()
            cluster.cutOff(first)
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "cut", as: String.self) == "second")
            mayGoOn.fulfill(())
            cluster.reconnect(first)
            #expect(try await first.engine.result(of: "cut", as: String.self) == "second")
            #expect(ledger.effects.map(\.token) == [1, 2])
            // It was given up while it lived, so it registers again, and gets work again.
            try await second.until { $0.executors.allSatisfy(\.isAlive) }
            #expect(try await second.withMachine { $0.executors.map(\.registration) } == [2, 1])
        }
    }

    @Test("a node that comes back in a new life takes up its own runs under a higher epoch")
    func restart() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("alone", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("a") { ledger.append("a", $0) }
                try await context.sleep(for: .seconds(5))
                try await context.step("b") { ledger.append("b", $0) }
                return 7
            }
            let before = try cluster.start(1, boot: 1, [workflow])
            try await before.until { !$0.executors.isEmpty }
            _ = try await before.engine.start(workflow, id: "alone", input: 0)
            try await before.until { $0.run("alone")?.timers.count == 1 }
            before.die()
            await before.stop()
            cluster.clock.advance(by: .seconds(6))
            let after = try cluster.start(1, boot: 2, [workflow])
            #expect(try await after.engine.result(of: "alone", as: Int.self) == 7)
            #expect(ledger.effects.map(\.name) == ["a", "b"])
            #expect(ledger.effects.map(\.token) == [1, 2])
        }
    }

    @Test("stopping a node records no failure: its runs go on elsewhere")
    func shutdownRecordsNothing() async throws {
        try await withCluster { cluster in
            let begun = Promise<Void>()
            let workflow = Workflow("long", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                // A body that turns its cancellation into a result, and into an error.
                do {
                    return try await context.step("wait") { step in
                        guard step.fencingToken == 1 else { return "done" }
                        begun.fulfill(())
                        try await Promise<Void>().wait()
                        return "never"
                    }
                } catch {
                    if try await context.step("tidy", { _ in true }) { throw PaymentDeclined() }
                    return "cancelled"
                }
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            _ = try await second.engine.start(workflow, id: "long", input: 0)
            try await begun.wait()
            await first.stop()
            #expect(try await second.withMachine { $0.run("long")?.status } == .running)
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "long", as: String.self) == "done")
        }
    }

    @Test("a node that hands over gives its runs away while it still lives")
    func handOver() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("nap", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.sleep(for: .seconds(60))
                return 1
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            _ = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            for number in 0..<6 {
                _ = try await first.engine.start(workflow, id: "nap-\(number)", input: 0)
            }
            #expect(try await first.withMachine { $0.executors.map(\.ownedRuns) } == [3, 3])
            try await first.until { machine in
                (0..<6).allSatisfy { machine.run("nap-\($0)")?.timers.count == 1 }
            }
            try await first.engine.handOver()
            #expect(try await first.withMachine { $0.executors.map(\.ownedRuns) } == [0, 6])
            cluster.clock.advance(by: .seconds(61))
            for number in 0..<6 {
                #expect(try await first.engine.result(of: "nap-\(number)", as: Int.self) == 1)
            }
            #expect(try await first.withMachine { $0.executors.map(\.isAlive) } == [false, true])
        }
    }

    @Test(
        "a step that ignores its cancellation is named in the log, and the engine ends when it does"
    )
    func unresponsiveStep() async throws {
        try await withCluster { cluster in
            let (begun, mayEnd, logged) = (Promise<Void>(), Gate(), Promise<String>())
            let workflow = Workflow("deaf", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("deaf") { _ in
                    begun.fulfill(())
                    await mayEnd.wait()
                    return 1
                }
            }
            let logger = FlotillaLogger(level: .warning) { level, message, _ in
                if level == .warning { logged.fulfill(message) }
            }
            let node = try cluster.start(1, [workflow], logger: logger)
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(workflow, id: "deaf", input: 0)
            try await begun.wait()
            let engine = node.engine
            node.die()
            // The timer of the grace period is set on the loop after the cancellation; the clock moves behind it.
            while try await node.withMachine({ [loop = node.loop] _ in loop.timerCount }) == 0 {
                await Task.yield()
            }
            cluster.clock.advance(by: .seconds(11))
            #expect(try await logged.wait().contains("step 'deaf'"))
            #expect(engine.unresponsiveSteps == ["step 'deaf' of default/deaf"])
            mayEnd.open()
            await node.engineEnded()
            #expect(engine.unresponsiveSteps.isEmpty)
            #expect(try await node.withMachine { $0.run("deaf")?.steps.count } == 0)
        }
    }
}
