import FlotillaActors
import FlotillaRaft

// The homes of workflow ids: which ids this group decides about, and what it knows of their runs. Each function checks
// everything before it changes anything.

extension WorkflowState {
    // MARK: Starts

    /// Whether a start may take its id here. A run that the id has here already was found before.
    /// - Returns: false where the id's run will never begin here, which is then so for good.
    mutating func admit(
        _ start: WorkflowOperation.StartRun, _ key: RunKey, _ context: ApplyContext
    ) throws(Refused) -> WorkflowRefusal? {
        try checkSeal()
        guard transfers.frozen[key] == nil else { throw absence(of: key) }
        let slot = transfers.slots[SlotMap.slot(of: key)]
        let isHome = slot?.phase == .open
        let address = isHome || start.placement == .alone ? transfers.addresses[key] : nil
        switch start.placement {
        case .alone, .atHome:
            guard isHome || (start.placement == .alone && slot == nil) || mutated(.startsAwayFromHome) else {
                throw notHome(key)
            }
            if address != nil { throw absence(of: key) }
        case .reserved(let epoch):
            if let slot, slot.epoch > epoch {
                throw Refused(.notHome, "'\(key.workflowID)' has another home than this start knows; ask that one")
            }
            if let address, address.runID != start.runID || address.group != context.group { throw absence(of: key) }
            try checkBeginning(start.runID, context)
        case .generated:
            if address != nil { throw absence(of: key) }
            try checkBeginning(start.runID, context)
        }
        // Not for good: where the id is reserved it stays so, and the same start may come again.
        try checkLimits(start)
        guard let problem = capacityProblem(start) else {
            if address != nil { transfers.addresses.remove(key) }
            return nil
        }
        guard case .reserved = start.placement else { throw problem }
        // Its home may give the id to a run elsewhere from now on.
        depart(start.runID)
        return problem.code
    }

    private func capacityProblem(_ start: WorkflowOperation.StartRun) -> Refused? {
        guard knownTypes.contains(start.type) else {
            return Refused(
                .unknownWorkflow,
                "no node ever registered \(start.type); check the name, or start a node that has it")
        }
        guard start.admitBelow == 0 || unfinishedCount < start.admitBelow else {
            return Refused(.full, "\(unfinishedCount) runs of this group have not ended; start it in another group")
        }
        return nil
    }

    /// A start that comes late must not begin a run again that has been here, and may be elsewhere by now.
    private func checkBeginning(_ run: RunID, _ context: ApplyContext) throws(Refused) {
        guard !mutated(.startsDepartedRuns) else { return }
        if transfers.departed.contains(run) {
            throw Refused(.notReserved, "run \(run) does not begin here any more; ask the home of its id")
        }
        if DepartedRuns.isTooOld(run, at: context.time) {
            throw Refused(
                .notReserved,
                "run \(run) was named more than \(DepartedRuns.horizon / 60_000) minutes ago and has not begun; "
                    + "reserve its id anew (and compare the nodes' clocks)")
        }
    }

    private func notHome(_ key: RunKey) -> Refused {
        Refused(.notHome, "this group is not the home of '\(key.workflowID)', or not yet; ask the one that is")
    }

    // MARK: Reservations

    /// The answer's `group` says where the run is or begins. `wasDone`: the id was taken before, by `runID`.
    mutating func reserve(
        _ reservation: TransferOperation.Reservation, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try checkSeal()
        let key = RunKey(context.namespace, reservation.workflowID)
        guard let epoch = transfers.slots.openEpoch(of: SlotMap.slot(of: key)) else { throw notHome(key) }
        if let run = runs[key] {
            return OperationResult(wasDone: true, runID: run.runID, group: context.group, slotEpoch: epoch)
        }
        guard transfers.frozen[key] == nil else { throw absence(of: key) }
        if let known = transfers.addresses[key], !reservation.mayReplace(known) {
            return OperationResult(wasDone: true, runID: known.runID, group: known.group, slotEpoch: epoch)
        }
        let address = Transfers.Address(runID: reservation.runID, group: reservation.group, epoch: 0)
        transfers.addresses.insert(address, for: key)
        return OperationResult(runID: reservation.runID, group: reservation.group, slotEpoch: epoch)
    }

    // MARK: Addresses

    /// News of a run that has moved. Only a home that is open hears them: what one that has closed the slot hears might
    /// not be handed over.
    mutating func setAddress(
        _ key: RunKey, _ address: Transfers.Address, isFirst: Bool
    ) throws(Refused) -> OperationResult {
        guard transfers.slots.openEpoch(of: SlotMap.slot(of: key)) != nil else { throw notHome(key) }
        // What this group is about to say of it itself is older.
        guard transfers.frozenRun(key)?.runID != address.runID else { throw absence(of: key) }
        guard runs[key] == nil, transfers.frozen[key] == nil else { return OperationResult(wasDone: true) }
        if let known = transfers.addresses[key] {
            guard known.runID == address.runID, known.epoch < address.epoch || mutated(.believesOlderAddresses) else {
                return OperationResult(wasDone: true)
            }
        } else if !isFirst {
            // The run has been removed since.
            return OperationResult(wasDone: true)
        }
        transfers.addresses.insert(address, for: key)
        return OperationResult()
    }

    mutating func clearAddress(_ key: RunKey, _ run: RunID) throws(Refused) -> OperationResult {
        guard transfers.slots.openEpoch(of: SlotMap.slot(of: key)) != nil else { throw notHome(key) }
        // It would leave its address behind.
        guard transfers.frozenRun(key)?.runID != run else { throw absence(of: key) }
        guard transfers.addresses[key]?.runID == run else { return OperationResult(wasDone: true) }
        transfers.addresses.remove(key)
        return OperationResult()
    }

    // MARK: Runs that leave

    /// For a run that was removed: its home is to forget it, unless that is here or never heard of it.
    mutating func leaveRelease(_ run: Run, _ key: RunKey) {
        let slot = transfers.slots[SlotMap.slot(of: key)]
        guard slot?.phase != .open, run.isListed || slot != nil else { return }
        transfers.releases.insert(key, for: run.runID)
        depart(run.runID)
        changes.deliveries = true
    }

    mutating func depart(_ run: Run) { depart(run.runID) }

    private mutating func depart(_ run: RunID) { transfers.departed.insert(run) }

    // MARK: Slots

    mutating func open(_ slots: [Int], _ epoch: UInt64) throws(Refused) -> OperationResult {
        let new = slots.filter { (transfers.slots[$0]?.epoch ?? 0) < epoch || mutated(.opensSlotsAgain) }
        guard !new.isEmpty else { return OperationResult(wasDone: true) }
        try checkSeal()
        for slot in new { transfers.slots.set(slot, HomeSlots.Slot(epoch: epoch, phase: .open)) }
        changes.deliveries = true
        return OperationResult()
    }

    mutating func close(
        _ slots: [Int], _ epoch: UInt64, for home: GroupID, instead: GroupID?, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        guard home != context.group else {
            throw Refused(.conflict, "slots are closed for another group than their own")
        }
        let closing = slots.filter { slot in
            guard let known = transfers.slots[slot], known.epoch < epoch else { return false }
            switch known.phase {
            case .open: return true
            // Where the slot changed its home more than once since, somebody between may have opened it.
            case .closed(let other): return other == instead && known.epoch + 1 == epoch
            case .released: return false
            }
        }
        for slot in closing { transfers.slots.set(slot, HomeSlots.Slot(epoch: epoch, phase: .closed(for: home))) }
        changes.deliveries = changes.deliveries || !closing.isEmpty
        return OperationResult(wasDone: closing.isEmpty)
    }

    /// Before the slots are opened here. Afterwards nothing counts that their old home still says.
    mutating func takeOver(
        _ entries: [TransferOperation.HandoverEntry], _ epoch: UInt64
    ) throws(Refused) -> OperationResult {
        let new = entries.filter { entry in
            let (key, address) = (entry.key, entry.address)
            guard (transfers.slots[SlotMap.slot(of: key)]?.epoch ?? 0) < epoch || mutated(.believesFormerHomes),
                runs[key] == nil, transfers.frozen[key] == nil
            else { return false }
            return transfers.addresses[key].map { $0.epoch < address.epoch } ?? true
        }
        guard !new.isEmpty else { return OperationResult(wasDone: true) }
        try checkSeal()
        for entry in new { transfers.addresses.insert(entry.address, for: entry.key) }
        return OperationResult()
    }

    mutating func release(_ slots: [Int], _ epoch: UInt64) -> OperationResult {
        var wasDone = true
        for slot in slots {
            guard let known = transfers.slots[slot], known.epoch == epoch, case .closed = known.phase else { continue }
            transfers.slots.set(slot, HomeSlots.Slot(epoch: epoch, phase: .released))
            transfers.addresses.removeAll(in: slot)
            wasDone = false
        }
        changes.deliveries = changes.deliveries || !wasDone
        return OperationResult(wasDone: wasDone)
    }
}

extension TransferOperation.Reservation {
    fileprivate func mayReplace(_ known: Transfers.Address) -> Bool {
        guard let replacing, replacing.runID == known.runID, replacing.group == known.group else { return false }
        return known.isReservation || replacing.isLost || mutated(.replacesRunsThatBegan)
    }
}
