import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Moving runs between groups, and the seal. Each function checks everything before it changes anything.

extension WorkflowState {
    /// - Parameter arrived: the run whose last part the operation brings.
    mutating func apply(
        _ operation: TransferOperation, _ context: ApplyContext, arrived: TransferredRun? = nil
    ) throws(Refused) -> OperationResult {
        switch operation {
        case .seal(let epoch): return try seal(epoch)
        case .exportRun(let address, let target): return try export(address, to: target, context)
        case .importRun(let part): return try take(part, arrived, context)
        case .completeExport(let completion): return try complete(completion, context)
        case .listExport(let id):
            guard let known = transfers.outgoing[id], !known.run.isListed else { return OperationResult(wasDone: true) }
            transfers.markListed(id)
            return OperationResult()
        case .setAddress(let workflowID, let address, let isFirst):
            return try setAddress(RunKey(context.namespace, workflowID), address, isFirst: isFirst)
        case .clearAddress(let workflowID, let runID):
            return try clearAddress(RunKey(context.namespace, workflowID), runID)
        case .reserveRun(let reservation): return try reserve(reservation, context)
        case .openSlots(let slots, let epoch): return try open(slots, epoch)
        case .closeSlots(let slots, let epoch, let home, let instead):
            return try close(slots, epoch, for: home, instead: instead, context)
        case .handOver(let epoch, let entries): return try takeOver(entries, epoch)
        case .releaseSlots(let slots, let epoch): return release(slots, epoch)
        case .confirmRelease(let workflowID, let runID):
            guard transfers.releases[runID] == RunKey(context.namespace, workflowID) else {
                return OperationResult(wasDone: true)
            }
            transfers.releases.remove(runID)
            return OperationResult()
        }
    }

    // MARK: The seal

    /// What keeps the group from being sealed; nil where nothing is left that somebody may ask for.
    var holdings: String? {
        let parts = [
            (runs.count, "runs"), (transfers.outgoing.count, "runs on their way elsewhere"),
            (transfers.addresses.count, "addresses"),
            (transfers.releases.count, "removed runs whose homes have not heard"),
            (transfers.slots.heldCount, "slots"),
        ].filter { $0.0 > 0 }
        return parts.isEmpty ? nil : parts.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    }

    /// Refused while the group holds anything. It cannot be taken back.
    private mutating func seal(_ epoch: UInt64) throws(Refused) -> OperationResult {
        if let known = transfers.sealEpoch {
            transfers.sealEpoch = max(known, epoch)
            return OperationResult(wasDone: true)
        }
        if let holdings, !mutated(.sealsWithRuns) {
            throw Refused(.notEmpty, "the group holds \(holdings); move or remove them first")
        }
        transfers.sealEpoch = epoch
        for source in transfers.inboxes.keys { transfers.inboxes[source]?.staged = [] }
        changes.deliveries = true
        return OperationResult()
    }

    /// For whatever would bring something new here.
    func checkSeal() throws(Refused) {
        if transfers.sealEpoch != nil {
            throw Refused(.sealed, "this group is to go and takes nothing new; ask another one")
        }
    }

    /// - Returns: why nothing is known of a run that somebody asks for.
    func absence(of key: RunKey) -> Refused {
        if let id = transfers.frozen[key] {
            return Refused(.moved, "workflow '\(key.workflowID)' is on its way to \(id.target); ask again in a moment")
        }
        if let address = transfers.addresses[key] {
            return Refused(.moved, "workflow '\(key.workflowID)' is in \(address.group); ask there")
        }
        return Refused(.noSuchRun, "there is no workflow '\(key.workflowID)'")
    }

    /// Where a run is, as far as this group knows.
    func location(of key: RunKey, in group: GroupID) -> RunLocation {
        if runs[key] != nil { return .here }
        if let id = transfers.frozen[key] { return .moving(id.target) }
        // An id that is reserved for a run that is to begin here has none yet.
        if let address = transfers.addresses[key], address.group != group { return .elsewhere(address.group) }
        // The first cluster of a fleet is the home of everything before it says so.
        let isFirst = group == ExecutionCluster.commonGroup && transfers.slots.slots.isEmpty
        return .unknown(isHome: isFirst || transfers.slots.openEpoch(of: SlotMap.slot(of: key)) != nil)
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
        // Its owner is a stale one from now on, and whoever hears of two places knows the later one.
        run.epoch += 1
        // A home that has handed its slot over has told where its runs are.
        if transfers.slots[SlotMap.slot(of: key)].map({ $0.phase != .open }) ?? false { run.isListed = true }
        let number = (transfers.outgoingCounts[target] ?? transfers.outgoingBase) + 1
        transfers.outgoingCounts[target] = number
        transfers.freeze(run, key, as: Transfers.ID(target: target, number: number))
        changes.moved.append(key)
        changes.deliveries = true
        return OperationResult(sequence: number)
    }

    /// The target has answered. A run that it took is gone from here; one that it turned down goes on.
    private mutating func complete(
        _ completion: TransferOperation.Completion, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let id = Transfers.ID(target: completion.target, number: completion.number)
        guard let known = transfers.outgoing[id] else { return OperationResult(wasDone: true) }
        let (key, run) = (known.key, known.run)
        let isHome = transfers.slots.openEpoch(of: SlotMap.slot(of: key)) != nil
        guard isHome || completion.isKnownAtHome || !completion.isAccepted || mutated(.completesBeforeHomeKnows) else {
            throw Refused(.notHome, "tell the home of '\(key.workflowID)' first where its run is")
        }
        _ = transfers.thaw(id)
        changes.deliveries = true
        guard completion.isAccepted else {
            // An owner that it had in an incarnation which is over must not share its epoch with the next one.
            var run = run
            run.epoch = max(run.epoch, transfers.outgoingBase)
            settle(run, key)
            return OperationResult()
        }
        if isHome {
            let address = run.addressAfterMove(id.target)
            if transfers.addresses[key].map({ $0.runID == run.runID && $0.epoch < address.epoch }) ?? true {
                transfers.addresses.insert(address, for: key)
            }
        }
        depart(run)
        changes.runs.append(key)
        changes.moved.append(key)
        changes.departures.append((run.runID, id.target))
        if run.hasHistory {
            changes.checkpoints.append(.remove(run.checkpointRun(key, in: context.group)))
        }
        return OperationResult()
    }

    // MARK: At the target

    /// Reads the run whose last part an operation brings.
    /// - Returns: nil where it does not, or is not the one that is expected.
    /// - Throws: what stops the group on this node, as an operation with an unknown field does.
    func arrival(of part: TransferOperation.ImportPart) throws(ApplyError) -> TransferredRun? {
        let inbox = transfers.inboxes[part.source] ?? Transfers.Inbox()
        guard part.isLast, inbox.expects(part.number) || mutated(.importsTwice), let bytes = inbox.bytes(with: part),
            CRC32C.checksum(bytes) == part.checksum
        else { return nil }
        do throws(WireError) {
            return try TransferredRun(decoding: bytes)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand,
                "transfer \(part.number) of \(part.source): \(error.message)")
        }
    }

    private mutating func take(
        _ part: TransferOperation.ImportPart, _ arrived: TransferredRun?, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        var inbox = transfers.inboxes[part.source] ?? Transfers.Inbox()
        if part.number < inbox.next, arrived == nil || !mutated(.importsTwice) {
            return OperationResult(wasDone: true, turnedDown: inbox.turnedDown[part.number])
        }
        guard part.number <= inbox.next || inbox.expects(part.number) else {
            throw Refused(
                .transferOutOfOrder,
                "transfer \(part.number) of \(part.source) comes before its transfer \(inbox.next)")
        }
        guard let arrived else { return try stage(part, inbox) }
        inbox.next = max(inbox.next, part.number + 1)
        inbox.staged = []
        inbox.turnedDown = inbox.turnedDown.filter { $0.key >= part.acknowledgedBelow }
        let problem = objection(to: arrived)
        if let problem { inbox.turnedDown[part.number] = problem }
        transfers.inboxes[part.source] = inbox
        guard problem == nil else { return OperationResult(turnedDown: problem) }
        transfers.addresses.remove(arrived.key)
        var run = arrived.run
        startCount += 1
        run.sequence = startCount
        run.isListed = true
        recordHistory(of: &run, arrived, context)
        settle(run, arrived.key)
        return OperationResult(runID: run.runID)
    }

    private mutating func stage(
        _ part: TransferOperation.ImportPart, _ inbox: Transfers.Inbox
    ) throws(Refused) -> OperationResult {
        if transfers.sealEpoch != nil {
            var inbox = inbox
            (inbox.next, inbox.staged) = (part.number + 1, [])
            inbox.turnedDown[part.number] = .sealed
            transfers.inboxes[part.source] = inbox
            return OperationResult(turnedDown: .sealed)
        }
        if part.checksum == inbox.checksum, part.offset + UInt64(part.bytes.count) <= inbox.staged.count,
            part.offset > 0
        {
            return OperationResult(wasDone: true)
        }
        guard let bytes = inbox.bytes(with: part), !part.isLast else {
            throw Refused(
                .transferOutOfOrder,
                "a part of transfer \(part.number) of \(part.source) does not fit what has come; begin with the first")
        }
        transfers.inboxes[part.source, default: inbox].staged = bytes
        transfers.inboxes[part.source]?.checksum = part.checksum
        return OperationResult()
    }

    /// Why a run cannot be taken in; it stays where it is then.
    private func objection(to arrived: TransferredRun) -> WorkflowRefusal? {
        if transfers.sealEpoch != nil { return .sealed }
        if runs[arrived.key] != nil || transfers.frozen[arrived.key] != nil { return .conflict }
        if let address = transfers.addresses[arrived.key], address.runID != arrived.run.runID { return .conflict }
        return nil
    }

    /// The steps and the values that came with the run, and the last value of each key, which always does.
    private mutating func recordHistory(
        of run: inout Run, _ arrived: TransferredRun, _ context: ApplyContext
    ) {
        guard run.hasHistory else { return }
        let owner = run.checkpointRun(arrived.key, in: context.group)
        let history = Dictionary(grouping: arrived.history, by: \.name)
        for (name, _) in run.archives?.sorted() ?? [] {
            let key = CheckpointKey(run: owner, name: StepArchive.series(of: name))
            for record in history[key.name] ?? [] { changes.checkpoints.append(.append(key, record.record)) }
        }
        for (name, checkpoint) in run.checkpoints.sorted() {
            let key = CheckpointKey(run: owner, name: name)
            let last = checkpoint.count - 1
            var records = (history[name] ?? []).map(\.record).filter { $0.sequence < last }
            records.sort { $0.sequence < $1.sequence }
            records.append(
                CheckpointRecord(sequence: last, value: checkpoint.value, recordedAt: checkpoint.recordedAt))
            for record in records { changes.checkpoints.append(.append(key, record)) }
            _ = run.checkpoints.update(name) { $0.first = records[0].sequence }
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
}

extension Transfers.Inbox {
    /// What has come, with one more part.
    /// - Returns: nil where the part is not the next one.
    fileprivate func bytes(with part: TransferOperation.ImportPart) -> [UInt8]? {
        if part.offset == 0 { return part.bytes }
        guard part.offset == staged.count, part.checksum == checksum else { return nil }
        return staged + part.bytes
    }
}
