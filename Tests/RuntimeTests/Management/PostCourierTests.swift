import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// Groups in memory that this node leads, and receivers that answer when the test lets them.
private final class PostingWorld: PostWorld {
    struct Unreachable: Error {}

    private struct State {
        var groups: [GroupID: Bench] = [:]
        /// Receivers and numbers, in the order of their arrival.
        var delivered: [String] = []
        /// How often a delivery was begun.
        var begun = 0
        var attempts: [Int] = []
        /// For how many more deliveries receivers cannot be reached; nil for all those whose names begin with "bad".
        var failuresLeft: Int? = 0
        /// Of receivers whose names begin with "held".
        var gates: [String: Promise<Void>] = [:]
        var isOpen = false
    }

    private let state = Lock(State())
    let courierAttention = GroupAttention()
    private let changes = Signal()
    /// Nil where pauses are over at once.
    private let rest: Lock<[Promise<Void>]>?

    init(restsForGood: Bool = false) { rest = restsForGood ? Lock([]) : nil }

    var view: ManagementState { ManagementState() }

    var delivered: [String] { state.withLock { $0.delivered } }
    var begun: Int { state.withLock { $0.begun } }
    var attempts: [Int] { state.withLock { $0.attempts } }
    /// How much is still to be told.
    var debts: Int { state.withLock { $0.groups.values.reduce(0) { $0 + $1.machine.state.debtors.count } } }

    func fail(_ count: Int?) { state.withLock { $0.failuresLeft = count } }

    /// Lets one delivery arrive that is held.
    func release(_ receiver: String) { state.withLock { $0.gates[receiver] }?.fulfill(()) }

    func releaseAll() {
        let gates = state.withLock { state in
            state.isOpen = true
            return Array(state.gates.values)
        }
        for gate in gates { gate.fulfill(()) }
    }

    func endRests() { for pause in rest?.withLock({ $0 }) ?? [] { pause.fulfill(()) } }

    /// Puts posts of one run into the record of a group.
    func tell(_ receivers: [String], in group: UInt64) throws {
        try state.withLock { state in
            var bench = state.groups[GroupID(group)] ?? Bench()
            if state.groups[GroupID(group)] == nil {
                try bench.apply([Bench.register(1)])
                try bench.apply([Bench.start("a")])
            }
            for receiver in receivers {
                let count = bench.machine.run("a")?.ties?.postCount ?? 0
                let post = RunTies.Post(
                    workflowID: receiver, content: .signal(name: "s", value: [49]),
                    step: StepKey("$signal/\(receiver)/s", count), createdAt: 0)
                let answer = try bench.apply([.tie(.post(Bench.address("a"), post, nil))], epoch: 1)
                #expect(answer.refusal == nil)
            }
            state.groups[GroupID(group)] = bench
        }
    }

    func bring(_ delivery: PostDelivery) async throws -> PostOutcome {
        defer { changes.ring() }
        let gate = try begin(delivery)
        changes.ring()
        try await gate?.wait()
        state.withLock { $0.delivered.append("\(delivery.post.workflowID) \(delivery.number)") }
        return PostOutcome()
    }

    /// - Returns: what it has to wait for.
    private func begin(_ delivery: PostDelivery) throws -> Promise<Void>? {
        let to = delivery.post.workflowID
        return try state.withLock { state -> Promise<Void>? in
            state.begun += 1
            if let left = state.failuresLeft {
                if left > 0 {
                    state.failuresLeft = left - 1
                    throw Unreachable()
                }
            } else if to.hasPrefix("bad") {
                throw Unreachable()
            }
            guard to.hasPrefix("held"), !state.isOpen else { return nil }
            let gate = Promise<Void>()
            state.gates[to] = gate
            return gate
        }
    }

    func leading<Result: Sendable>(
        _ group: GroupID, _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result? {
        state.withLock { $0.groups[group].map { body($0.machine) } }
    }

    func propose(_ operations: [WorkflowOperation], to group: GroupID) async throws -> WorkflowAnswer {
        defer { changes.ring() }
        return try state.withLock { state in
            guard var bench = state.groups[group] else { throw Unreachable() }
            let answer = try bench.apply(operations)
            state.groups[group] = bench
            return answer
        }
    }

    func pause(attempt: Int) async throws {
        state.withLock { $0.attempts.append(attempt) }
        guard let rest else { return }
        let pause = Promise<Void>()
        rest.withLock { $0.append(pause) }
        changes.ring()
        try await pause.wait()
    }

    func log(_ message: String, group: GroupID, isError: Bool) {}

    func until(_ condition: () -> Bool) async throws {
        if condition() { return }
        for await _ in changes.rings where condition() { return }
        try Task.checkCancellation()
    }
}

@Suite("Who brings what runs tell each other", .timeLimit(.minutes(15)))
struct PostCourierTests {
    private func withCourier(_ world: PostingWorld, _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await PostCourier(world, attention: world.courierAttention).run() }
            defer { group.cancelAll() }
            try await body()
        }
    }

    @Test("pairs that cannot be served leave their places to those that can, and are served once that is possible")
    func failing() async throws {
        let world = PostingWorld(restsForGood: true)
        world.fail(nil)
        try world.tell((0..<300).map { "bad-\($0)" } + ["good-1"], in: 1)
        try world.tell(["good-2"], in: 2)
        try await withCourier(world) {
            world.courierAttention.mark(GroupID(1))
            world.courierAttention.mark(GroupID(2))
            try await world.until { Set(world.delivered) == ["good-1 301", "good-2 1"] }
            try await world.until { world.attempts.count == 300 }
            world.fail(0)
            // Places for those that are tried again are few: some of them rest once more.
            try await world.until {
                world.endRests()
                return world.debts == 0
            }
        }
        #expect(world.delivered.count == 302 && Set(world.delivered).count == 302)
    }

    @Test("groups that found no place get one as soon as one is free, in turns")
    func turns() async throws {
        let world = PostingWorld()
        try world.tell((0..<600).map { "held-\($0)" }, in: 1)
        try world.tell(["good-2"], in: 2)
        try world.tell(["good-3"], in: 3)
        try await withCourier(world) {
            world.courierAttention.mark(GroupID(1))
            try await world.until { world.begun == PostCourier<PostingWorld>.chainsMax }
            world.courierAttention.mark(GroupID(2))
            world.courierAttention.mark(GroupID(3))
            for held in 0..<3 { world.release("held-\(held)") }
            try await world.until { Set(world.delivered).isSuperset(of: ["good-2 1", "good-3 1"]) }
            #expect(world.delivered.count < 600)
            world.releaseAll()
            try await world.until { world.debts == 0 }
        }
        #expect(world.delivered.count == 602 && Set(world.delivered).count == 602)
    }

    @Test("what one run tells another arrives in order, also where it has to be tried again")
    func order() async throws {
        let world = PostingWorld()
        world.fail(3)
        try world.tell(Array(repeating: "x", count: 100), in: 1)
        try await withCourier(world) {
            world.courierAttention.mark(GroupID(1))
            try await world.until { world.debts == 0 }
        }
        #expect(world.delivered == (1...100).map { "x \($0)" })
        #expect(world.attempts == [1, 2, 3])
    }

    @Test("many senders are gone through in portions, and none of them is left out")
    func portions() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        let count = PostCourier<PostingWorld>.sendersMax + 100
        for number in 1...UInt64(count) {
            try bench.apply([Bench.start("a\(number)", run: number)])
            let post = RunTies.Post(
                workflowID: "x", content: .signal(name: "s", value: [49]), step: StepKey("$signal/x/s", 0), createdAt: 0
            )
            try bench.apply([.tie(.post(Bench.address("a\(number)", run: number), post, nil))], epoch: 1)
        }
        var known: Set<PostCourier<PostingWorld>.ChainID> = []
        var seen = 0
        while seen < count {
            var place: UInt64? = 0
            var isFirst = true
            let before = seen
            while let start = place, isFirst || seen == before {
                let look: WorkflowState.PostChains<PostingWorld> = bench.machine.state.chains(
                    of: GroupID(1), besides: known, after: start)
                known.formUnion(look.chains.map(\.id))
                (seen, place, isFirst) = (known.count, look.next, false)
            }
            try #require(seen > before)
        }
        #expect(seen == count)
    }
}
