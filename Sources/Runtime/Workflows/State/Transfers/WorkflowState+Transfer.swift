import FlotillaActors
import FlotillaRaft

// Moving runs between groups, the homes of workflow ids, and the seal. Each function checks everything before it changes
// anything.

extension WorkflowState {
    mutating func apply(
        _ operation: TransferOperation, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        switch operation {
        case .seal(let epoch): return try seal(epoch)
        case .exportRun(let address, let target): return try export(address, to: target, context)
        case .importRun(let transfer): return try take(transfer, context)
        case .completeExport(let completion): return complete(completion, context)
        case .setAddress(let workflowID, let address):
            return try setAddress(RunKey(context.namespace, workflowID), address)
        case .clearAddress(let workflowID, let runID):
            let key = RunKey(context.namespace, workflowID)
            guard transfers.addresses[key]?.runID == runID else { return OperationResult(wasDone: true) }
            transfers.addresses.remove(key)
            return OperationResult()
        }
    }

    // MARK: The seal

    /// Refused while the group holds anything that somebody may ask for. It cannot be taken back.
    private mutating func seal(_ epoch: UInt64) throws(Refused) -> OperationResult {
        if let known = transfers.sealEpoch {
            transfers.sealEpoch = max(known, epoch)
            return OperationResult(wasDone: true)
        }
        let (frozen, addresses) = (transfers.outgoing.count, transfers.addresses.count)
        guard mutated(.sealsWithRuns) || runs.count + frozen + addresses == 0 else {
            throw Refused(
                .notEmpty,
                "the group holds \(runs.count) runs, \(frozen) on their way elsewhere and \(addresses) addresses; "
                    + "move or remove them first")
        }
        transfers.sealEpoch = epoch
        return OperationResult()
    }

    /// For whatever would bring something new here under a workflow id.
    func checkHome(_ key: RunKey) throws(Refused) {
        if transfers.sealEpoch != nil {
            throw Refused(.sealed, "this group is to go and takes no new workflows; ask another one")
        }
        if let id = transfers.frozen[key] {
            throw Refused(.moved, "workflow '\(key.workflowID)' is on its way to \(id.target); ask there")
        }
        if let address = transfers.addresses[key] {
            throw Refused(.moved, "workflow '\(key.workflowID)' is in \(address.group); ask there")
        }
    }

    /// Where a run is, as far as this group knows.
    func location(of key: RunKey) -> RunLocation {
        if runs[key] != nil { return .here }
        if let id = transfers.frozen[key] { return .elsewhere(id.target) }
        if let address = transfers.addresses[key] { return .elsewhere(address.group) }
        return .unknown(isHome: true)
    }

    // MARK: At the source

    private mutating func export(
        _ address: RunAddress, to target: GroupID, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        if let id = transfers.frozen[key], id.target == target, transfers.outgoing[id]?.run.runID == address.runID {
            return OperationResult(wasDone: true, sequence: id.number)
        }
        guard runs[key]?.runID == address.runID else {
            throw Refused(.noSuchRun, "there is no run \(address.runID) of workflow id '\(address.workflowID)'")
        }
        guard target != context.group else { throw Refused(.conflict, "a run moves to another group than its own") }
        var run = takeOut(key)
        // Its owner is a stale one from now on.
        if !run.status.isFinished { run.epoch += 1 }
        let number = (transfers.outgoingCounts[target] ?? 0) + 1
        transfers.outgoingCounts[target] = number
        transfers.freeze(run, key, as: Transfers.ID(target: target, number: number))
        return OperationResult(sequence: number)
    }

    /// The target has answered. A run that it took is gone from here; one that it turned down goes on.
    private mutating func complete(
        _ completion: TransferOperation.Completion, _ context: ApplyContext
    ) -> OperationResult {
        let id = Transfers.ID(target: completion.target, number: completion.number)
        guard let (key, run) = transfers.thaw(id) else { return OperationResult(wasDone: true) }
        guard completion.isAccepted else {
            settle(run, key)
            return OperationResult()
        }
        if completion.leavesAddress {
            let address = Transfers.Address(runID: run.runID, group: id.target, epoch: run.epoch)
            transfers.addresses.insert(address, for: key)
        }
        if run.checkpoints.count > 0 {
            changes.checkpoints.append(.remove(CheckpointRun(group: context.group, run: key, runID: run.runID)))
        }
        return OperationResult()
    }

    // MARK: At the target

    private mutating func take(
        _ transfer: TransferOperation.Import, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        var inbox = transfers.inboxes[transfer.source] ?? Transfers.Inbox()
        if transfer.number < inbox.next, !mutated(.importsTwice) {
            return OperationResult(wasDone: true, turnedDown: inbox.turnedDown[transfer.number])
        }
        guard transfer.number <= inbox.next else {
            throw Refused(
                .transferOutOfOrder,
                "transfer \(transfer.number) of \(transfer.source) comes before its transfer \(inbox.next)")
        }
        inbox.next = transfer.number + 1
        inbox.turnedDown = inbox.turnedDown.filter { $0.key >= transfer.acknowledgedBelow }
        let problem = objection(to: transfer)
        if let problem { inbox.turnedDown[transfer.number] = problem }
        transfers.inboxes[transfer.source] = inbox
        guard problem == nil else { return OperationResult(turnedDown: problem) }
        transfers.addresses.remove(transfer.key)
        var run = transfer.run
        startCount += 1
        run.sequence = startCount
        recordHistory(of: run, transfer, context)
        settle(run, transfer.key)
        return OperationResult(runID: run.runID)
    }

    /// Why a run cannot be taken in; it stays where it is then.
    private func objection(to transfer: TransferOperation.Import) -> WorkflowRefusal? {
        if transfers.sealEpoch != nil { return .sealed }
        if runs[transfer.key] != nil || transfers.frozen[transfer.key] != nil { return .conflict }
        if let address = transfers.addresses[transfer.key], address.runID != transfer.run.runID { return .conflict }
        return nil
    }

    /// The values that came with the run, and the last of each key, which always does.
    private mutating func recordHistory(
        of run: Run, _ transfer: TransferOperation.Import, _ context: ApplyContext
    ) {
        let owner = CheckpointRun(group: context.group, run: transfer.key, runID: run.runID)
        for (name, checkpoint) in run.checkpoints.sorted() {
            let key = CheckpointKey(run: owner, name: name)
            let last = checkpoint.count - 1
            let earlier = transfer.history.filter { $0.name == name && $0.record.sequence < last }.map(\.record)
            for record in earlier.sorted(by: { $0.sequence < $1.sequence }) {
                changes.checkpoints.append(.append(key, record))
            }
            let record = CheckpointRecord(sequence: last, value: checkpoint.value, recordedAt: checkpoint.recordedAt)
            changes.checkpoints.append(.append(key, record))
        }
    }

    /// Enters a run that comes from elsewhere, or back. One that ran gets an owner here, with a higher epoch.
    private mutating func settle(_ run: Run, _ key: RunKey) {
        var run = run
        let wasRunning = run.status == .running || run.status == .parked
        if wasRunning { (run.status, run.owner) = (.parked, nil) }
        restore(run, for: key)
        if wasRunning { assign(run.sequence) } else { changes.runs.append(key) }
    }

    // MARK: At the home

    /// Reserves an id for a run that is elsewhere, or says where it is now.
    private mutating func setAddress(
        _ key: RunKey, _ address: Transfers.Address
    ) throws(Refused) -> OperationResult {
        if transfers.sealEpoch != nil {
            throw Refused(.sealed, "this group is to go and is nobody's home; ask another one")
        }
        let here = runs[key] ?? transfers.frozen[key].flatMap { transfers.outgoing[$0]?.run }
        let known = here.map(\.runID) ?? transfers.addresses[key]?.runID
        guard known == nil || known == address.runID else {
            throw Refused(.conflict, "workflow id '\(key.workflowID)' belongs to another run; choose another id")
        }
        // It is here itself, or what is known is newer.
        if here != nil || transfers.addresses[key].map({ $0.epoch >= address.epoch }) == true {
            return OperationResult(wasDone: true)
        }
        transfers.addresses.insert(address, for: key)
        return OperationResult()
    }
}
