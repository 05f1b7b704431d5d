import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Groups in memory, and a network that loses what it likes: before it is applied, or the answer.
final class MemoryWorld: QuestionWorld {
    private struct State {
        var groups: [GroupID: TransferBench]
        var management: ManagementBench
        var random: SeededGenerator
        /// One in so many is lost; nil for none.
        var lossShare: Int?
        var proposals = 0
        var questions = 0
        /// What the node believes of the fleet until it asks; nil for the truth.
        var staleView: ManagementState?
        /// What happens before a group tells of slots, once.
        var surprise: (group: GroupID, body: @Sendable (MemoryWorld) throws -> Void)?
    }

    private struct Lost: Error {}

    private let state: Lock<State>

    /// - Parameter clusters: of three nodes each; the first is the home of all ids.
    init(clusters: UInt64, seed: UInt64 = 1, lossShare: Int? = nil) throws {
        var management = try ManagementBench(nodes: 3)
        var groups: [GroupID: TransferBench] = [:]
        for number in 1...clusters {
            try management.apply(ManagementBench.create(number, [1, 2, 3]))
            let group = try #require(management.state.clusters[ManagementBench.cluster(number)]?.group)
            groups[group] = try TransferBench(group.rawValue)
        }
        state = Lock(
            State(
                groups: groups, management: management, random: SeededGenerator(seed: seed), lossShare: lossShare))
    }

    var view: ManagementState { state.withLock { $0.staleView ?? $0.management.state } }

    func freshView() async throws -> ManagementState {
        state.withLock { $0.staleView = nil }
        return view
    }

    /// From now on nothing that management decides is heard.
    func holdView() { state.withLock { $0.staleView = $0.management.state } }

    func group(_ cluster: UInt64) -> GroupID { view.clusters[ManagementBench.cluster(cluster)]?.group ?? GroupID(0) }

    subscript(_ group: GroupID) -> TransferBench {
        get { state.withLock { $0.groups[group]! } }
        set { state.withLock { $0.groups[group] = newValue } }
    }

    var groups: [TransferBench] { state.withLock { $0.groups.sorted { $0.key < $1.key }.map(\.value) } }
    var proposals: Int { state.withLock { $0.proposals } }
    var questions: Int { state.withLock { $0.questions } }

    func manage(_ operations: ManagementOperation...) throws {
        let refusal = try state.withLock { state in try state.management.apply(operations) }
        #expect(refusal == nil)
    }

    func beforeQuestion(to group: GroupID, _ body: @escaping @Sendable (MemoryWorld) throws -> Void) {
        state.withLock { $0.surprise = (group, body) }
    }

    private func surprise(_ group: GroupID) throws {
        let body = state.withLock { state in
            guard let surprise = state.surprise, surprise.group == group else {
                return nil as (@Sendable (MemoryWorld) throws -> Void)?
            }
            state.surprise = nil
            return surprise.body
        }
        try body?(self)
    }

    func remove(_ group: GroupID) { state.withLock { $0.groups[group] = nil } }

    /// Moves all slots of a cluster to others, in turns.
    func moveSlots(of cluster: UInt64, to others: [UInt64]) throws {
        let slots = view.slots.slots(of: group(cluster))
        for (position, other) in others.enumerated() {
            let part = slots.enumerated().filter { $0.offset % others.count == position }.map(\.element)
            try manage(.moveSlots(SlotMove(version: view.slots.version, slots: part, home: group(other))))
        }
    }

    /// Lets the steward do what it can until nothing is left, or so often.
    func settle(_ groups: [GroupID]? = nil, rounds: Int = 2_000) async throws {
        let steward = ClusterSteward(self, attention: GroupAttention())
        for _ in 0..<rounds {
            var isDone = true
            for group in groups ?? view.clusters.members.map(\.value.group).sorted() {
                if case .done = await steward.round(group) {} else { isDone = false }
            }
            if isDone { return }
        }
        Issue.record("something is left to do after \(rounds) rounds")
    }

    // MARK: StewardWorld

    func leading<Result: Sendable>(
        _ group: GroupID, _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result? {
        state.withLock { $0.groups[group]?.bench.machine }.map(body)
    }

    func propose(_ operations: [WorkflowOperation], to group: GroupID) async throws -> WorkflowAnswer {
        try state.withLock { state in
            state.proposals += 1
            func isLost() -> Bool {
                state.lossShare.map { Int.random(in: 0..<$0, using: &state.random) == 0 } ?? false
            }
            guard !isLost(), var bench = state.groups[group] else { throw Lost() }
            // As they travel.
            let answer = try bench.bench.apply(try operations.map { try WorkflowOperation($0.encoded) })
            state.groups[group] = bench
            if isLost() { throw Lost() }
            return answer
        }
    }

    func ask<Question: GroupQuestion>(_ question: Question, of group: GroupID) async throws -> Question.Reply {
        try surprise(group)
        return try state.withLock { state in
            state.questions += 1
            guard let bench = state.groups[group] else { throw Lost() }
            let travelled = try JSONCoding.decode(Question.self, from: try JSONCoding.encode(question))
            let reply = travelled.answer(bench.state)
            return try JSONCoding.decode(Question.Reply.self, from: try JSONCoding.encode(reply))
        }
    }

    func pause(attempt: Int) async throws {}
    func log(_ message: String, group: GroupID, isError: Bool) {}
}

extension MemoryWorld {
    /// A world whose first cluster has runs of all kinds: at home, ended, reserved for the second, and one of its own
    /// id.
    static func withRuns(clusters: UInt64, seed: UInt64 = 1, lossShare: Int? = nil) async throws -> MemoryWorld {
        func id(_ number: UInt64) -> String { "w\(number)" }
        let world = try MemoryWorld(clusters: clusters, seed: seed, lossShare: lossShare)
        try await world.settle()
        let (first, second) = (world.group(1), world.group(2))
        for number in 1...6 as ClosedRange<UInt64> {
            #expect(try world[first].start(id(number), run: number).refusal == nil)
            if number > 4 { try world[first].end(id(number), run: number) }
        }
        #expect(try world[first].reserve(id(7), run: 7, at: second.rawValue).refusal == nil)
        #expect(try world[second].start(id(7), run: 7, .reserved(epoch: 1)).refusal == nil)
        #expect(try world[first].reserve(id(8), run: 8, at: second.rawValue).refusal == nil)
        #expect(try world[first].start("~g.9", run: 9, .generated).refusal == nil)
        return world
    }

    /// Where the home of an id sends those who ask for its run.
    func place(of id: String) throws -> GroupID? {
        let key = RunKey("default", id)
        let home = try #require(view.slots.home(of: key)?.home)
        switch self[home].state.location(of: key, in: home) {
        case .here: return home
        case .elsewhere(let group), .moving(let group): return group
        // An id may be reserved for a run that is to begin at its home itself.
        case .unknown: return self[home].state.transfers.addresses[key]?.group
        }
    }
}
