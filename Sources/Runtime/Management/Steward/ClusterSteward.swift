import FlotillaIO
import FlotillaRaft

/// Does what the clusters that this node leads owe others: moves runs and slots as management orders, tells the homes
/// of ids what they must know, and seals what is to go and is empty.
///
/// It follows from a group's state and from what management wants, so nothing is lost when a leader changes: the next
/// one goes on. Everything that it proposes may be applied twice, late, or after others did the same. A group that owes
/// nothing costs nothing; one that does has one task, which tries again as long as something is left.
final class ClusterSteward<World: QuestionWorld>: Sendable {
    /// Runs of a group that are on their way at a time: they do not run meanwhile.
    static var frozenMax: Int { 16 }
    /// Releases that are told in one command.
    static var releasePortion: Int { 100 }

    private struct Tending {
        /// Something happened since its task looked.
        var mustLookAgain = false
    }

    let world: World
    private let attention: GroupAttention
    private let tended = Lock<[GroupID: Tending]>([:])

    /// - Parameter attention: groups whose state, leader or orders have changed.
    init(_ world: World, attention: GroupAttention) {
        self.world = world
        self.attention = attention
    }

    /// Until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { tasks in
            for await _ in attention.bell.rings {
                for group in attention.take() where begin(group) {
                    let isAdded = tasks.addTaskUnlessCancelled { await self.tend(group) }
                    if !isAdded { return }
                }
            }
        }
    }

    /// - Returns: whether the group needs a task; one that has one looks again.
    private func begin(_ group: GroupID) -> Bool {
        tended.withLock { tended in
            guard tended[group] == nil else {
                tended[group]?.mustLookAgain = true
                return false
            }
            tended[group] = Tending()
            return true
        }
    }

    /// - Returns: whether the group's task is over.
    private func end(_ group: GroupID) -> Bool {
        tended.withLock { tended in
            guard tended[group]?.mustLookAgain == true else {
                tended[group] = nil
                return true
            }
            tended[group]?.mustLookAgain = false
            return false
        }
    }

    private func tend(_ group: GroupID) async {
        var failures = 0
        do {
            while true {
                let progress = await round(group)
                try Task.checkCancellation()
                switch progress {
                case .done: if end(group) { return }
                case .more: failures = 0
                case .stuck:
                    failures += 1
                    try await world.pause(attempt: failures)
                }
            }
        } catch {
            tended.withLock { $0[group] = nil }
        }
    }

    enum Progress {
        /// Nothing is left to do, or another node leads.
        case done
        /// Something was done; there may be more.
        case more
        /// Something is left that could not be done now.
        case stuck
    }

    // MARK: One round

    /// Does what can be done by what the group's state says now. Parts of it do not depend on each other: where one
    /// fails the others go on.
    func round(_ group: GroupID) async -> Progress {
        let look: Look
        do {
            guard let found = try await world.leading(group, { Look($0.state) }) else { return .done }
            look = found
        } catch {
            return .stuck
        }
        let view = world.view
        // Not known to this node yet, or not any more: management says when that changes.
        guard let cluster = view.cluster(of: group) else { return .done }
        var progress = Progress.done
        func part(_ body: () async throws -> Bool) async {
            do {
                if try await body(), progress == .done { progress = .more }
            } catch {
                progress = .stuck
                if !(error is CancellationError) { world.log("\(error); trying again", group: group, isError: false) }
            }
        }
        await part { try await openFirstSlots(of: group, look, view) }
        await part { try await closeSlots(of: group, look, view) }
        for (next, slots) in look.slots.closed.sorted(by: { $0.key < $1.key }) {
            await part { try await handOver(slots, next, of: group, view) }
        }
        await part { try await openLostSlots(of: group, look, view) }
        for (_, ids) in Dictionary(grouping: look.outgoing, by: \.target).sorted(by: { $0.key < $1.key }) {
            await part {
                for id in ids { try await deliver(id, of: group) }
                return !ids.isEmpty
            }
        }
        await part { try await release(look.releases, of: group, view) }
        await part { try await exportRuns(of: group, cluster, look, view) }
        await part { try await seal(group, cluster, look) }
        return progress
    }

    /// A group's state, as far as it decides what to do.
    struct Look: Sendable {
        let slots: HomeSlots
        /// By target, and in their order.
        let outgoing: [Transfers.ID]
        /// Some of them.
        let releases: [(run: RunID, key: RunKey)]
        let isSealed: Bool
        let isEmpty: Bool

        init(_ state: WorkflowState) {
            slots = state.transfers.slots
            outgoing = state.transfers.outgoing.keys.sorted()
            releases = state.transfers.someReleases(ClusterSteward.releasePortion)
            isSealed = state.transfers.sealEpoch != nil
            isEmpty = state.holdings == nil
        }
    }

    private func seal(_ group: GroupID, _ cluster: ExecutionCluster, _ look: Look) async throws -> Bool {
        guard case .draining = cluster.phase, look.isEmpty, !look.isSealed else { return false }
        _ = try await world.apply(.seal(epoch: cluster.drainEpoch), to: group)
        return true
    }

    // MARK: Releases

    private func release(
        _ releases: [(run: RunID, key: RunKey)], of group: GroupID, _ view: ManagementState
    ) async throws -> Bool {
        let homes = Dictionary(grouping: releases) { view.slots.home(of: $0.key)?.home }
        for (home, releases) in homes.sorted(by: { ($0.key?.rawValue ?? 0) < ($1.key?.rawValue ?? 0) }) {
            guard let home else { continue }
            var heard = releases
            do {
                _ = try await world.apply(releases.map { Self.clear($0) }, to: home)
            } catch is Refused where releases.count > 1 {
                // One of them is not at home there any more, or not yet.
                heard = []
                for release in releases {
                    if case .applied = try await world.propose([Self.clear(release)], to: home) {
                        heard.append(release)
                    }
                }
                guard !heard.isEmpty else {
                    throw Refused(.notHome, "\(home) does not take any of \(releases.count) releases")
                }
            }
            _ = try await world.apply(
                heard.map { .transfer(.confirmRelease(workflowID: $0.key.workflowID.text, $0.run)) }, to: group)
        }
        return !releases.isEmpty
    }

    private static func clear(_ release: (run: RunID, key: RunKey)) -> WorkflowOperation {
        .transfer(.clearAddress(workflowID: release.key.workflowID.text, release.run))
    }
}
