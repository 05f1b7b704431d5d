import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Workflows that start others and tell them something, on whole nodes: owners crash, groups fail over, runs move.
@Suite("Children, and signals between workflows", .timeLimit(.minutes(5)))
struct ChildSimulationTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let double = Workflow<Int, Int>("double", version: 1) { input, context in
        try await context.sleep(for: .milliseconds(200))
        return try await context.step("double") { _ in input * 2 }
    }

    /// Starts children side by side, and adds up what they return.
    private static let fan = Workflow<Int, Int>("fan", version: 1) { count, context in
        try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<count {
                group.addTask {
                    try await context.child(Self.double, name: "double-\(number)", input: number).result()
                }
            }
            return try await group.reduce(0, +)
        }
    }

    @Test("children begin once and end once for their parent, whenever owners crash", arguments: Moment.allCases)
    func fanOut(moment: Moment) async throws {
        for seed in Simulation.seeds(5) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.double, Self.fan]) { simulation in
                let victim = Int(simulation.world.random(below: 3)) + 1
                if moment == .before { simulation.crash(victim, dropUnsynced: true) }
                let run = try await simulation.submit(Self.fan, id: "p", input: 6)
                if moment == .during {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(300)))
                    simulation.crash(victim, dropUnsynced: true)
                }
                if moment == .after {
                    await simulation.advance(by: .milliseconds(400))
                    simulation.crash(victim, dropUnsynced: true)
                }
                await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                simulation.restart(victim)
                #expect(try await run.result() == 30, "seed \(seed)")
                let page = try await simulation.node(1 + victim % 3).list(WorkflowFilter(type: "double"))
                #expect(Set(page.runs.map(\.workflowID)) == Set((0..<6).map { "p/double-\($0)/0" }), "seed \(seed)")
                #expect(page.runs.count == 6 && page.runs.allSatisfy { $0.parent == "p" && $0.status == .completed })
                try await simulation.wait(until: "all has been told", within: .seconds(30)) {
                    try await simulation.node(victim).running().clusters.engine(of: ExecutionCluster.commonGroup)
                        .environment.withMachine { $0.state.debtors.count } == 0
                }
                let history = try await simulation.node(victim).wholeHistory(of: "p")
                try await replay(history: history, against: Self.fan)
            }
        }
    }

    @Test("what becomes of children when their parent ends is their policy's business, however it ends")
    func policies() async throws {
        let endless = Workflow<Int, Int>("endless", version: 1) { _, context in
            try await context.sleep(for: .seconds(100_000))
            return 1
        }
        let parent = Workflow<Int, Int>("parent", version: 1) { _, context in
            for policy in ParentClosePolicy.allCases {
                _ = try await context.child(endless, name: "\(policy)", input: 0, whenParentEnds: policy)
            }
            try await context.sleep(for: .seconds(5))
            return 1
        }
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [endless, parent]) { simulation in
                for (id, isTerminated) in [("ended", false), ("terminated", true)] {
                    let run = try await simulation.submit(parent, id: id, input: 0)
                    try await simulation.wait(until: "all three have begun", within: .seconds(20)) {
                        let waits = try await simulation.node(2).describe(id).waits
                        return waits.filter { $0.reason == .child }.count == 3 && waits.count == 4
                    }
                    if isTerminated {
                        try await simulation.control(id, .terminate)
                        simulation.crash(Int(seed % 3) + 1, dropUnsynced: true)
                    } else {
                        #expect(try await run.result() == 1)
                    }
                    let asked = Int((seed + 1) % 3) + 1
                    try await simulation.wait(until: "the children have heard", within: .seconds(30)) {
                        var statuses: [WorkflowStatus] = []
                        for policy in ParentClosePolicy.allCases {
                            statuses.append(try await simulation.node(asked).describe("\(id)/\(policy)/0").info.status)
                        }
                        return statuses == [.terminated, .cancelled, .running]
                    }
                    if isTerminated { simulation.restart(Int(seed % 3) + 1) }
                }
            }
        }
    }

    @Test(
        "when a parent has ended its children are terminated, cancelled or go on, whenever its owner crashes at its end",
        arguments: CrashMoment.allCases)
    func policiesAtTheEnd(moment: CrashMoment) async throws {
        let lasting = Workflow<Int, Int>("lasting", version: 1) { _, context in
            try await context.sleep(for: .seconds(600))
            return 1
        }
        for seed in Simulation.seeds(4) {
            let delays: [CrashMoment: ClosedRange<Duration>] = [
                .before: .zero ... .zero, .during: .zero ... .milliseconds(8),
                .after: .milliseconds(8) ... .milliseconds(300),
            ]
            let saboteur = Saboteur(at: "end", after: delays[moment] ?? .zero ... .zero)
            let parent = Workflow<Int, Int>("parent", version: 1) { _, context in
                for policy in ParentClosePolicy.allCases {
                    _ = try await context.child(lasting, name: "\(policy)", input: 0, whenParentEnds: policy)
                }
                try await context.sleep(for: .seconds(2))
                saboteur.pass("end")
                return 1
            }
            try await withSimulation(seed: seed, nodes: 3, workflows: [lasting, parent]) { simulation in
                let run = try await simulation.submit(parent, id: "p", input: 0)
                try await saboteur.aim(at: "p", simulation)
                #expect(try await run.result() == 1, "seed \(seed)")
                try await saboteur.repair(simulation)
                @Sendable func statuses() async throws -> [WorkflowStatus] {
                    var statuses: [WorkflowStatus] = []
                    for policy in ParentClosePolicy.allCases {
                        let id = "p/\(policy)/0"
                        statuses.append(try await simulation.ask { try await $0.describe(id).info.status })
                    }
                    return statuses
                }
                try await simulation.wait(until: "the children have heard", within: .seconds(30)) {
                    try await statuses() == [.terminated, .cancelled, .running]
                }
                await simulation.skip(.seconds(600))
                try await simulation.wait(until: "the abandoned one has ended", within: .seconds(30)) {
                    try await statuses() == [.terminated, .cancelled, .completed]
                }
                try await simulation.untilConverged()
            }
        }
    }

    @Test("who heard at a child that it is to end may wait for the child, and after a takeover hears the same there")
    func cancelledWait() async throws {
        let parent = Workflow<Int, Int>("parent", version: 1) { _, context in
            let child = try await context.child(Self.waiting, input: 1)
            do {
                return try await child.result()
            } catch let error as WorkflowError where error.code == .cancelled {
                try await context.signal(child.workflowID, Self.go, 1)
                _ = try await child.result()
                try await context.step("cleaned") { _ in }
                try await context.sleep(for: .seconds(20))
                throw error
            }
        }
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [parent, Self.waiting]) { simulation in
                try await simulation.submit(parent, id: "p", input: 0)
                try await simulation.wait(until: "it waits for the child", within: .seconds(20)) {
                    try await simulation.node(1).describe("p").waits.contains { $0.reason == .child }
                }
                // The child has begun, and the parent knows.
                await simulation.advance(by: .seconds(2))
                try await simulation.control("p", .cancel)
                try await simulation.wait(until: "it has cleaned up", within: .seconds(20)) {
                    let page = try await simulation.node(1).history(of: "p")
                    return page.events.contains { $0.name == "cleaned" }
                }
                let owner = try #require(try await simulation.owner(of: "p"))
                simulation.crash(owner)
                let asked = simulation.runningNodes[0]
                try await simulation.wait(until: "it has ended", within: .seconds(60)) {
                    try await simulation.node(asked).describe("p").info.status.isFinished
                }
                #expect(try await simulation.node(asked).describe("p").info.status == .cancelled, "seed \(seed)")
                simulation.restart(owner)
            }
        }
    }

    @Test("a parent is told how a child ended, and what cannot be started is an error, the same after a takeover")
    func failures() async throws {
        struct Broken: Error {}
        let broken = Workflow<Int, Int>("broken", version: 1) { _, _ in throw Broken() }
        let unknown = Workflow<Int, Int>("unknown", version: 1) { _, _ in 1 }
        let other = Workflow<Int, Int>("other", version: 1) { _, _ in 1 }
        let parent = Workflow<Int, [String]>("parent", version: 1) { _, context in
            var codes: [String] = []
            func note(_ body: () async throws -> Void) async throws {
                do {
                    try await body()
                    codes.append("none")
                } catch let error as WorkflowError where error.code != .cancelled || codes.count == 1 {
                    codes.append(error.failure?.type ?? error.code.rawValue)
                }
            }
            try await note { _ = try await context.child(broken, input: 1).result() }
            let slow = try await context.child(Self.waiting, input: 1)
            try await note { _ = try await slow.result() }
            try await note { _ = try await context.child(unknown, input: 1) }
            try await note { _ = try await context.child(other, id: "taken", input: 1) }
            try await note { try await context.signal("nobody", Self.go, 1) }
            try await context.sleep(for: .seconds(10))
            return codes
        }
        try await withSimulation(
            seed: 5, nodes: 3, workflows: [broken, other, parent, Self.waiting]
        ) { simulation in
            try await simulation.submit(other, id: "taken", input: 7)
            let run = try await simulation.submit(parent, id: "p", input: 0)
            try await simulation.wait(until: "the child waits", within: .seconds(20)) {
                (try? await simulation.node(1).describe("p/waiting/0")) != nil
            }
            try await simulation.control("p/waiting/0", .terminate)
            try await simulation.wait(until: "the parent sleeps", within: .seconds(60)) {
                try await simulation.node(1).describe("p").waits.map(\.reason) == [.sleep]
            }
            if let owner = try await simulation.owner(of: "p") {
                simulation.crash(owner, dropUnsynced: true)
                simulation.restart(owner)
            }
            #expect(try await run.result() == ["Broken", "terminated", "unknownWorkflow", "conflict", "notFound"])
        }
    }

    private final class Repair: Sendable {
        struct Broken: Error {}
        private let isDone = Lock(false)
        func finish() { isDone.withLock { $0 = true } }
        func check() throws { if !isDone.withLock({ $0 }) { throw Broken() } }
    }

    @Test("a parent that failed and is tried again hears how its child ended meanwhile")
    func retries() async throws {
        for isAbandoned in [true, false] {
            let repair = Repair()
            let parent = Workflow<Int, String>("parent", version: 1) { _, context in
                let child = try await context.child(
                    Self.double, input: 4, whenParentEnds: isAbandoned ? .abandon : .cancel)
                try await context.step("broken", retry: RetryPolicy(attempts: 1)) { _ in try repair.check() }
                do {
                    return "\(try await child.result())"
                } catch let error as WorkflowError where error.code == .cancelled {
                    return "cancelled"
                }
            }
            try await withSimulation(seed: 7, nodes: 3, workflows: [parent, Self.double]) { simulation in
                let run = try await simulation.submit(parent, id: "p", input: 0)
                let failure = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(failure?.code == .failed)
                try await simulation.wait(until: "the child has ended", within: .seconds(20)) {
                    try await simulation.node(1).describe("p/double/0").info.status.isFinished
                }
                await simulation.advance(by: .seconds(1))
                repair.finish()
                try await simulation.control("p", .retry)
                #expect(try await run.result(timeout: .seconds(60)) == (isAbandoned ? "8" : "cancelled"))
            }
        }
    }

    private static let go = WorkflowSignal<Int>("go")

    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { _, context in
        try await context.receive(Self.go)
    }

    // MARK: Signals

    /// Receives six numbers, in two executions.
    private static let sink = Workflow<[Int], [Int]>("sink", version: 1) { known, context in
        var numbers = known
        for _ in 0..<3 { numbers.append(try await context.receive(Self.go)) }
        guard numbers.count < 6 else { return numbers }
        try await context.continueAsNew(numbers)
    }

    private static let source = Workflow<Int, Int>("source", version: 1) { _, context in
        for number in 1...6 {
            try await context.signal("sink", Self.go, number)
            try await context.sleep(for: .milliseconds(100))
        }
        return 6
    }

    @Test(
        "a workflow's signals to another one are received once and in order, whenever owners crash",
        arguments: Moment.allCases)
    func signals(moment: Moment) async throws {
        for seed in Simulation.seeds(5) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.sink, Self.source]) { simulation in
                let sink = try await simulation.submit(Self.sink, id: "sink", input: [])
                let victim = Int(simulation.world.random(below: 3)) + 1
                if moment == .before { simulation.crash(victim, dropUnsynced: true) }
                let source = try await simulation.submit(Self.source, id: "source", input: 0)
                await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(500)))
                if moment == .during { simulation.crash(victim, dropUnsynced: true) }
                if moment == .after {
                    _ = try await source.result()
                    simulation.crash(victim, dropUnsynced: true)
                }
                await simulation.advance(by: .seconds(1))
                simulation.restart(victim)
                #expect(try await source.result() == 6)
                #expect(try await sink.result() == Array(1...6), "seed \(seed)")
            }
        }
    }

    // MARK: Clusters

    @Test("parents and children find each other while their runs move to another cluster and nodes crash")
    func moves() async throws {
        let slow = Workflow<Int, Int>("slow", version: 1) { input, context in
            try await context.sleep(for: .seconds(8))
            return input * 2
        }
        let parent = Workflow<Int, Int>("parent", version: 1) { count, context in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<count {
                    group.addTask {
                        if number >= count / 2 {
                            try await context.sleep(for: .seconds(4), name: "nap-\(number)")
                        }
                        return try await context.child(slow, name: "slow-\(number)", input: number).result()
                    }
                }
                return try await group.reduce(0, +)
            }
        }
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 4, workflows: [slow, parent]) { simulation in
                let run = try await simulation.submit(parent, id: "p", input: 6)
                await simulation.advance(by: .milliseconds(500))
                try await simulation.migrate(to: [2, 3, 4])
                await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(3)))
                simulation.crash(3)
                #expect(try await run.result(timeout: .seconds(120)) == 30, "seed \(seed)")
                simulation.restart(3)
                let runs = try await simulation.node(2).list(WorkflowFilter(type: "slow")).runs
                #expect(runs.count == 6 && runs.allSatisfy { $0.status == .completed }, "seed \(seed)")
                try await simulation.wait(until: "the first cluster is sealed", within: .seconds(60)) {
                    let view = try await simulation.node(1).running().machines.management.withLock { $0 }
                    if case .sealed = view.clusters[ExecutionCluster.common]?.phase { return true }
                    return view.clusters[ExecutionCluster.common] == nil
                }
            }
        }
    }
}
