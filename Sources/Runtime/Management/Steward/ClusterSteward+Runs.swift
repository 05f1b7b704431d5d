import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Runs that move; see `Transfers`.

extension ClusterSteward {
    // MARK: On order

    /// Freezes runs that are to move, a few at a time: those that were started first, and of a cluster that goes on
    /// only such as have not ended.
    func exportRuns(
        of group: GroupID, _ cluster: ExecutionCluster, _ look: Look, _ view: ManagementState
    ) async throws -> Bool {
        var room = Self.frozenMax - look.outgoing.count
        guard room > 0 else { return false }
        var hasExported = false
        for (target, count) in orders(cluster, view).sorted(by: { $0.key < $1.key }) where room > 0 && count > 0 {
            guard let there = view.clusters[target], there.isActive else { continue }
            let limit = min(room, count)
            let isDraining = !cluster.isActive
            let heard = cluster.runs
            let runs = try await world.leading(group) { machine in
                let unheard = isDraining ? 0 : machine.state.movedUnheard(heard)
                return machine.state.movable(limit: limit - min(limit, unheard), withEnded: isDraining)
            }
            guard let runs else { return false }
            for run in runs {
                _ = try await world.apply(.exportRun(run, to: there.group), to: group)
                hasExported = true
                room -= 1
            }
        }
        return hasExported
    }

    /// How many runs are to go to which cluster.
    private func orders(_ cluster: ExecutionCluster, _ view: ManagementState) -> [ClusterID: Int] {
        switch cluster.phase {
        case .active: return cluster.outgoing
        case .sealed: return [:]
        case .draining(let successor?): return [successor: .max]
        case .draining(nil):
            // Nobody was named: to whoever has the least to do.
            let others = view.clusters.sorted().map(\.value).filter {
                $0.id != cluster.id && $0.isActive && $0.pinnedType == cluster.pinnedType && !$0.voters.isEmpty
            }
            let least = others.min { ($0.activeCount, $0.id) < ($1.activeCount, $1.id) }
            return least.map { [$0.id: Self.frozenMax] } ?? [:]
        }
    }

    // MARK: On the way

    /// Takes a frozen run through all that is left of its move.
    func deliver(_ id: Transfers.ID, of group: GroupID) async throws {
        guard let moving = try await frozen(id, of: group) else { return }
        let view = world.view
        let (key, run) = (moving.key, moving.run)
        let home = view.slots.home(of: key)?.home
        if !moving.isHome, !run.isListed {
            // From now on the home may be told that the run is gone: it knows of which one.
            try await tellHome(home, key, run.addressBeforeMove(group), isFirst: true)
            _ = try await world.apply(.listExport(id), to: group)
        }
        var completion = TransferOperation.Completion(target: id.target, number: id.number, isAccepted: false)
        if view.wasDestroyed(id.target) {
            completion.isAccepted = try await wasTaken(moving, of: group, home: home)
            completion.isKnownAtHome = true
        } else {
            completion.isAccepted = try await send(moving, id, of: group, home: home)
            if completion.isAccepted, !moving.isHome {
                try await tellHome(home, key, run.addressAfterMove(id.target), isFirst: false)
                completion.isKnownAtHome = true
            }
        }
        _ = try await world.apply(.completeExport(completion), to: group)
    }

    private struct Moving: Sendable {
        let key: RunKey
        let run: Run
        let isHome: Bool
        /// It was frozen in an earlier incarnation of the group.
        let isOlder: Bool
        /// Numbers below were completed.
        let acknowledgedBelow: UInt64
        let checkpoints: CheckpointJournal
    }

    private func frozen(_ id: Transfers.ID, of group: GroupID) async throws -> Moving? {
        let found = try await world.leading(group) { machine -> Moving? in
            let transfers = machine.state.transfers
            guard let outgoing = transfers.outgoing[id] else { return nil }
            let least = transfers.outgoing.keys.filter { $0.target == id.target }.map(\.number).min() ?? id.number
            return Moving(
                key: outgoing.key, run: outgoing.run,
                isHome: transfers.slots.openEpoch(of: SlotMap.slot(of: outgoing.key)) != nil,
                isOlder: id.number <= transfers.outgoingBase, acknowledgedBelow: least, checkpoints: machine.checkpoints
            )
        }
        return found ?? nil
    }

    /// - Returns: whether the target has taken the run; else it has turned it down for good.
    private func send(_ moving: Moving, _ id: Transfers.ID, of group: GroupID, home: GroupID?) async throws -> Bool {
        var whole = TransferredRun(key: moving.key, run: moving.run)
        let owner = moving.run.checkpointRun(moving.key, in: group)
        whole.history = try await moving.checkpoints.transferredHistory(of: moving.run, owner)
        var result = OperationResult()
        for part in whole.parts(from: group, number: id.number, acknowledgedBelow: moving.acknowledgedBelow) {
            result = try await world.apply(.importRun(part), to: id.target)
            // It was dealt with before, or is turned down whatever else comes.
            if result.turnedDown != nil { break }
        }
        if let reason = result.turnedDown {
            world.log(
                "\(id.target) does not take run \(moving.run.runID) of '\(moving.key.workflowID)': \(reason)",
                group: group,
                isError: false)
        }
        if moving.isOlder, result.wasDone, result.turnedDown == nil {
            return try await wasTakenBefore(moving, id, of: group, home: home)
        }
        return result.turnedDown == nil
    }

    /// The target has dealt with a transfer of an earlier incarnation. Why it turned one down it forgets once it hears that
    /// the source knows: that may have been told by members which are lost since. In doubt the run goes on: better in two
    /// places, of which the other one's tokens are stale, than in none.
    private func wasTakenBefore(
        _ moving: Moving, _ id: Transfers.ID, of group: GroupID, home: GroupID?
    ) async throws -> Bool {
        let question = RunQuestion(workflowID: moving.key.workflowID.text, runID: moving.run.runID)
        switch try await world.ask(question, of: id.target) {
        case .taken: return true
        case .conflict: return false
        case .unknown: return try await wasTaken(moving, of: group, home: home)
        }
    }

    private func tellHome(
        _ home: GroupID?, _ key: RunKey, _ address: Transfers.Address, isFirst: Bool
    ) async throws {
        guard let home else { throw Refused(.notHome, "'\(key.workflowID)' has no home yet") }
        _ = try await world.apply(
            .setAddress(workflowID: key.workflowID.text, address, isFirst: isFirst), to: home)
    }

    /// The target is no more, or knows nothing of the run, and nobody can say whether it had taken it but the home of its
    /// id: a run does not leave a group, and is not removed from it, before its home has heard of that.
    private func wasTaken(_ moving: Moving, of group: GroupID, home: GroupID?) async throws -> Bool {
        // A home does not listen to others while a run is frozen in it.
        if moving.isHome { return false }
        guard let home else { throw Refused(.notHome, "'\(moving.key.workflowID)' has no home yet") }
        let (id, run) = (moving.key.workflowID.text, moving.run.runID)
        let known = try await world.apply(
            .reserveRun(TransferOperation.Reservation(workflowID: id, runID: run, group: group)), to: home)
        guard known.wasDone else {
            _ = try await world.apply(.clearAddress(workflowID: id, run), to: home)
            return true
        }
        return known.runID != run || known.group != group
    }
}

extension WorkflowState {
    /// Runs that may move, in the order of their starts.
    func movable(limit: Int, withEnded: Bool) -> [RunAddress] {
        var found: [RunAddress] = []
        var position: UInt64 = 0
        while found.count < limit {
            let some = startOrder.elements(after: position, limit: 256)
            guard let last = some.last else { break }
            for (_, key) in some {
                guard found.count < limit, let run = runs[key], withEnded || !run.status.isFinished else { continue }
                found.append(RunAddress(workflowID: key.workflowID.text, runID: run.runID))
            }
            position = last.key
        }
        return found
    }

    /// How many runs management believes here that are not: they have moved or ended, and it will hear.
    func movedUnheard(_ heard: BucketedMap<RunKey, LocatedRun>) -> Int {
        var count = 0
        heard.visit { key, run in
            if runs[key]?.runID != run.runID { count += 1 }
        }
        return count
    }
}

extension Transfers {
    /// Up to so many, the first ones.
    func someReleases(_ limit: Int) -> [(run: RunID, key: RunKey)] {
        guard releases.count > 0 else { return [] }
        return releases.sorted().prefix(limit).map { (run: $0.key, key: $0.value) }
    }
}

extension CheckpointJournal {
    /// What comes along of the history of a run that moves: all steps, which the body is replayed with, and of each key
    /// of a checkpoint the newest values, an equal share of `TransferredRun.historyBytesMax`.
    func transferredHistory(of run: Run, _ owner: CheckpointRun) async throws -> [TransferredRun.Record] {
        var history: [TransferredRun.Record] = []
        for (name, archive) in run.archives?.sorted() ?? [] {
            try await visitSteps(name, archive, of: owner) { record in
                history.append(TransferredRun.Record(name: StepArchive.series(of: name), record: record))
                return true
            }
        }
        guard run.checkpoints.count > 0 else { return history }
        let share = TransferredRun.historyBytesMax / run.checkpoints.count
        for (name, checkpoint) in run.checkpoints.sorted() {
            let key = CheckpointKey(run: owner, name: name)
            var window: [CheckpointRecord] = []
            var (next, bytes) = (checkpoint.first, 0)
            // The last value is in the run.
            while next < checkpoint.count - 1 {
                let page = try await page(of: key, from: next, limit: 1_000, until: checkpoint.count - 1)
                window += page
                bytes += page.reduce(0) { $0 + $1.value.count }
                next += UInt64(page.count)
                let surplus = window.firstIndex { record in
                    guard bytes > share else { return true }
                    bytes -= record.value.count
                    return false
                }
                window.removeFirst(surplus ?? window.count)
            }
            history += window.map { TransferredRun.Record(name: name, record: $0) }
        }
        return history
    }
}
