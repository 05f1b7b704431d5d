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
///
/// The places are few, so groups take turns where they are all taken, and a pair whose delivery fails leaves its place
/// to others: it is tried again in pauses, in one of some places that such pairs have among them.
final class PostCourier<World: PostWorld>: Sendable {
    /// Pairs of sender and receiver that are served at the same time.
    static var chainsMax: Int { 256 }
    /// Pairs whose delivery has failed and that are tried again at the same time.
    static var retriesMax: Int { 64 }
    /// Pairs whose delivery has failed and that have left their places; more keep theirs while they pause.
    static var failingMax: Int { 10_000 }
    /// What is taken for a pair, before the group is looked at again.
    static var chainLength: Int { 64 }
    /// Senders that one look at a group goes through.
    static var sendersMax: Int { 1_000 }

    struct ChainID: Hashable, Sendable {
        var group: GroupID
        var from: RunKey
        var to: ByteText
    }

    private struct State {
        /// Those that have a place.
        var served: Set<ChainID> = []
        /// Those that have failed, and left theirs.
        var failing: Set<ChainID> = []
        /// How many of those are being tried.
        var retries = 0
        /// Groups that may have more than there were places for, who waits longest first.
        var turnedAway: [GroupID] = []

        var isFull: Bool { served.count >= PostCourier.chainsMax }
        var known: Set<ChainID> { served.union(failing) }

        /// What a group gets at once while others wait.
        func share(besides others: Int) -> Int {
            max(1, (PostCourier.chainsMax - served.count) / (1 + others + turnedAway.count))
        }

        mutating func turnAway(_ group: GroupID) {
            if !turnedAway.contains(group) { turnedAway.append(group) }
        }

        /// Whose turn it is. Nobody's where there is no place: there will be a next time.
        mutating func next() -> GroupID? { isFull || turnedAway.isEmpty ? nil : turnedAway.removeFirst() }
    }

    private struct Chain: Sendable {
        var id: ChainID
        var deliveries: [PostDelivery]
    }

    private enum DeliveryResult {
        case settled
        /// It is for somebody else to deliver, or for nobody.
        case over
        case failed
    }

    private let world: World
    private let attention: GroupAttention
    private let state = Lock(State())

    /// - Parameter attention: groups whose runs have something to tell others, or whose leader has changed.
    init(_ world: World, attention: GroupAttention) {
        self.world = world
        self.attention = attention
    }

    /// Until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { tasks in
            for await _ in attention.bell.rings {
                let groups = attention.take()
                for (number, group) in groups.enumerated() {
                    for chain in await chains(of: group, besides: groups.count - number - 1) {
                        let isAdded = tasks.addTaskUnlessCancelled { await self.serve(chain) }
                        if !isAdded { return }
                    }
                }
            }
        }
    }

    /// What can be begun now in a group; it has its places from here on.
    /// - Parameter others: how many groups are looked at behind it.
    private func chains(of group: GroupID, besides others: Int) async -> [Chain] {
        var begun: [Chain] = []
        let share = state.withLock { $0.share(besides: others) }
        var place: UInt64? = 0
        while let start = place {
            let known = state.withLock { state -> Set<ChainID>? in
                guard !state.isFull, begun.count < share else {
                    state.turnAway(group)
                    return nil
                }
                return state.known
            }
            guard let known else { break }
            let look = try? await world.leading(group) { $0.state.chains(of: group, besides: known, after: start) }
            guard let look = look ?? nil else { break }
            state.withLock { state in
                for chain in look.chains {
                    guard !state.isFull, begun.count < share else { return state.turnAway(group) }
                    state.served.insert(chain.id)
                    begun.append(Chain(id: chain.id, deliveries: chain.deliveries))
                }
            }
            place = look.next
        }
        if let other = state.withLock({ $0.next() }) { attention.mark(other) }
        return begun
    }

    private func serve(_ chain: Chain) async {
        var hasPlace = true
        deliveries: for delivery in chain.deliveries {
            switch await deliver(delivery, of: chain.id.group) {
            case .settled: continue
            case .over: break deliveries
            case .failed:
                hasPlace = !leavePlace(chain.id)
                await insist(on: delivery, of: chain.id.group, hasPlace: hasPlace)
                // What is behind it begins anew, in a place.
                break deliveries
            }
        }
        let next = state.withLock { state in
            if hasPlace { state.served.remove(chain.id) } else { state.failing.remove(chain.id) }
            // There may be more.
            state.turnAway(chain.id.group)
            return state.next()
        }
        if let next { attention.mark(next) }
    }

    /// - Returns: whether it has no place any more.
    private func leavePlace(_ chain: ChainID) -> Bool {
        let (hasLeft, next) = state.withLock { state in
            guard state.failing.count < Self.failingMax else { return (false, GroupID?.none) }
            state.served.remove(chain)
            state.failing.insert(chain)
            return (true, state.next())
        }
        if let next { attention.mark(next) }
        return hasLeft
    }

    /// Tries what has failed again until it need not be tried any more.
    private func insist(on delivery: PostDelivery, of group: GroupID, hasPlace: Bool) async {
        var attempt = 1
        while true {
            do {
                try await world.pause(attempt: attempt)
                let (key, number) = (delivery.from, delivery.number)
                let isWaiting = try await world.leading(group) { machine in
                    machine.state.runs[key]?.ties?.posts[number] != nil
                }
                guard isWaiting == true else { return }
            } catch {
                return
            }
            attempt += 1
            guard hasPlace || beginRetry() else { continue }
            let result = await deliver(delivery, of: group)
            if !hasPlace { state.withLock { $0.retries -= 1 } }
            guard case .failed = result else { return }
        }
    }

    private func beginRetry() -> Bool {
        state.withLock { state in
            guard state.retries < Self.retriesMax else { return false }
            state.retries += 1
            return true
        }
    }

    private func deliver(_ delivery: PostDelivery, of group: GroupID) async -> DeliveryResult {
        do {
            let outcome = try await world.bring(delivery)
            let value = delivery.post.step == nil ? nil : try JSONCoding.encode(outcome)
            let settlement = TieOperation.settle(
                delivery.address, number: delivery.number, value, isFailure: outcome.code != nil)
            // A refusal says that the run has left the group: the other one goes on.
            guard case .applied = try await world.propose([.tie(settlement)], to: group) else { return .over }
            return .settled
        } catch is CancellationError {
            return .over
        } catch {
            world.log(
                "post \(delivery.number) of '\(delivery.from.workflowID)' to '\(delivery.post.workflowID)': "
                    + "\(error); trying again", group: group, isError: false)
            return .failed
        }
    }
}

extension WorkflowState {
    /// What runs have to tell others, by sender and receiver.
    struct PostChains<World: PostWorld>: Sendable {
        var chains: [(id: PostCourier<World>.ChainID, deliveries: [PostDelivery])] = []
        /// Behind which place in the order of senders to go on; nil where there are no more.
        var next: UInt64?
    }

    /// A part of what runs have to tell others, without the pairs that are served already.
    /// - Parameter start: the sender that the last look ended with, or 0.
    func chains<World>(
        of group: GroupID, besides known: Set<PostCourier<World>.ChainID>, after start: UInt64
    ) -> PostChains<World> {
        typealias Courier = PostCourier<World>
        var found = PostChains<World>()
        let senders = debtors.elements(after: start, limit: Courier.sendersMax)
        if senders.count == Courier.sendersMax { found.next = senders.last?.key }
        for (sequence, key) in senders {
            guard let run = runs[key], let ties = run.ties else { continue }
            var places: [ByteText: Int] = [:]
            for (number, post) in ties.posts.elements(after: 0, limit: Courier.chainsMax * 4) {
                let id = Courier.ChainID(group: group, from: key, to: ByteText(post.workflowID))
                guard !known.contains(id) else { continue }
                let place = places[id.to] ?? found.chains.count
                if place == found.chains.count {
                    guard found.chains.count < Courier.chainsMax else {
                        found.next = sequence - 1
                        return found
                    }
                    found.chains.append((id, []))
                    places[id.to] = place
                }
                guard found.chains[place].deliveries.count < Courier.chainLength else { continue }
                found.chains[place].deliveries.append(PostDelivery(run, key, number, post))
            }
        }
        return found
    }
}

extension PostDelivery {
    /// Of a child that is started: who it is of.
    var childsParent: RunTies.Parent? {
        guard let step = post.former?.step ?? post.step else { return nil }
        return RunTies.Parent(
            workflowID: from.workflowID.text, runID: runID, execution: post.former?.execution ?? execution, child: step)
    }
}

extension PostDelivery {
    fileprivate init(_ run: Run, _ key: RunKey, _ number: UInt64, _ post: RunTies.Post) {
        self.init(from: key, runID: run.runID, execution: run.execution, number: number, post: post)
        trace = run.span
        if post.content == .reportEnd { (parent, end) = (run.ties?.parent, WorkflowOutcome(run)) }
    }
}
