import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Something that a run has to tell another one, with what the bearer must know of the run.
struct PostDelivery: Sendable {
    var from: RunKey
    var runID: RunID
    var execution: UInt64
    var number: UInt64
    var post: RunTies.Post
    /// Where it tells its parent of its end.
    var parent: RunTies.Parent?
    var end: WorkflowOutcome?
    /// What a child belongs to.
    var trace: TraceContext?

    var address: RunAddress { RunAddress(workflowID: from.workflowID.text, runID: runID) }
}

/// What a courier needs of everything around it.
protocol PostWorld: StewardWorld {
    /// Brings a post to the run that it is for.
    /// - Returns: what came of it, for good.
    /// - Throws: anything where it has to be tried again; it may have been done.
    func bring(_ delivery: PostDelivery) async throws -> PostOutcome
}

/// Brings what runs have to tell others, of the groups that this node leads, to where those are; see `RunTies`.
///
/// What one run tells another arrives in the order in which it was told; nothing else waits for it. What cannot be
/// delivered now is tried again for as long as this node leads, and by the next leader then.
final class PostCourier<World: PostWorld>: Sendable {
    /// Pairs of sender and receiver that are served at the same time.
    static var chainsMax: Int { 256 }
    /// What is taken for a pair, before the group is looked at again.
    static var chainLength: Int { 64 }
    /// Senders that one look at a group goes through.
    static var sendersMax: Int { 1_000 }

    struct ChainID: Hashable, Sendable {
        var group: GroupID
        var from: RunKey
        var to: ByteText
    }

    private let world: World
    private let attention: GroupAttention
    private let underWay = Lock<Set<ChainID>>([])

    /// - Parameter attention: groups whose runs have something to tell others, or whose leader has changed.
    init(_ world: World, attention: GroupAttention) {
        self.world = world
        self.attention = attention
    }

    /// Until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { tasks in
            for await _ in attention.bell.rings {
                for group in attention.take() {
                    for chain in await chains(of: group) {
                        let isAdded = tasks.addTaskUnlessCancelled { await self.serve(chain) }
                        if !isAdded { return }
                    }
                }
            }
        }
    }

    private struct Chain: Sendable {
        var id: ChainID
        var deliveries: [PostDelivery]
    }

    /// What can be begun now in a group; it counts as under way from here on.
    private func chains(of group: GroupID) async -> [Chain] {
        let known = underWay.withLock { $0 }
        let found = try? await world.leading(group) { $0.state.chains(of: group, besides: known) }
        guard let found = found ?? nil else { return [] }
        return underWay.withLock { underWay in
            var begun: [Chain] = []
            for chain in found where underWay.count < Self.chainsMax && !underWay.contains(chain.id) {
                underWay.insert(chain.id)
                begun.append(Chain(id: chain.id, deliveries: chain.deliveries))
            }
            return begun
        }
    }

    private func serve(_ chain: Chain) async {
        let group = chain.id.group
        for delivery in chain.deliveries {
            guard await deliver(delivery, of: group) else { break }
        }
        underWay.withLock { _ = $0.remove(chain.id) }
        // There may be more, or there was no room for others.
        attention.mark(group)
    }

    /// - Returns: whether the next one can follow.
    private func deliver(_ delivery: PostDelivery, of group: GroupID) async -> Bool {
        var failures = 0
        while true {
            do {
                let outcome = try await world.bring(delivery)
                let value = delivery.post.step == nil ? nil : try JSONCoding.encode(outcome)
                // A refusal says that the run has left the group: the other one goes on.
                let answer = try await world.propose(
                    [
                        .tie(
                            .settle(
                                delivery.address, number: delivery.number, value, isFailure: outcome.code != nil))
                    ], to: group)
                if case .applied = answer { return true }
                return false
            } catch is CancellationError {
                return false
            } catch {
                failures += 1
                world.log(
                    "post \(delivery.number) of '\(delivery.from.workflowID)' to '\(delivery.post.workflowID)': "
                        + "\(error); trying again", group: group, isError: false)
                do {
                    try await world.pause(attempt: failures)
                    let (key, number) = (delivery.from, delivery.number)
                    let isWaiting = try await world.leading(group) { machine in
                        machine.state.runs[key]?.ties?.posts[number] != nil
                    }
                    guard isWaiting == true else { return false }
                } catch {
                    return false
                }
            }
        }
    }
}

extension WorkflowState {
    /// What runs have to tell others, by sender and receiver; without the pairs that are served already.
    func chains<World>(
        of group: GroupID, besides known: Set<PostCourier<World>.ChainID>
    ) -> [(id: PostCourier<World>.ChainID, deliveries: [PostDelivery])] {
        typealias Courier = PostCourier<World>
        var found: [(id: Courier.ChainID, deliveries: [PostDelivery])] = []
        for (_, key) in debtors.elements(after: 0, limit: Courier.sendersMax) {
            guard let run = runs[key], let ties = run.ties else { continue }
            var places: [ByteText: Int] = [:]
            for (number, post) in ties.posts.elements(after: 0, limit: Courier.chainsMax * 4) {
                let id = Courier.ChainID(group: group, from: key, to: ByteText(post.workflowID))
                guard !known.contains(id) else { continue }
                let place = places[id.to] ?? found.count
                if place == found.count {
                    guard found.count < Courier.chainsMax else { return found }
                    found.append((id, []))
                    places[id.to] = place
                }
                guard found[place].deliveries.count < Courier.chainLength else { continue }
                found[place].deliveries.append(PostDelivery(run, key, number, post))
            }
        }
        return found
    }
}

extension PostDelivery {
    fileprivate init(_ run: Run, _ key: RunKey, _ number: UInt64, _ post: RunTies.Post) {
        self.init(from: key, runID: run.runID, execution: run.execution, number: number, post: post)
        trace = run.span
        if post.content == .reportEnd { (parent, end) = (run.ties?.parent, WorkflowOutcome(run)) }
    }
}
