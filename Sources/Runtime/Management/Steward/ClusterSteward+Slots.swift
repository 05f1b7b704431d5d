import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Slots that change their home; see `HomeSlots`.

extension ClusterSteward {
    /// What one command tells the new home, in entries: some 100 bytes each.
    private static var handoverPortion: Int { 2_000 }

    /// The first home of all slots has no predecessor. Those that have moved on before it opened them are opened by it
    /// all the same: the next home waits for it.
    func openFirstSlots(of group: GroupID, _ look: Look, _ view: ManagementState) async throws -> Bool {
        let isFirst = group == ExecutionCluster.commonGroup
        let slots = (0..<SlotMap.count).filter { slot in
            let wanted = view.slots[slot]
            return look.slots[slot] == nil && wanted.epoch > 0
                && (isFirst || wanted.epoch == 1 && wanted.home == group)
        }
        guard !slots.isEmpty, !look.isSealed else { return false }
        _ = try await world.apply(.openSlots(slots, epoch: 1), to: group)
        return true
    }

    func closeSlots(of group: GroupID, _ look: Look, _ view: ManagementState) async throws -> Bool {
        var closing: [HomeSlots.Handover: [Int]] = [:]
        for slot in look.slots.slots.keys.sorted() {
            guard let epoch = look.slots.openEpoch(of: slot) else { continue }
            let wanted = view.slots[slot]
            guard wanted.home != group, wanted.epoch > epoch else { continue }
            closing[HomeSlots.Handover(home: wanted.home, epoch: wanted.epoch), default: []].append(slot)
        }
        for (next, slots) in closing.sorted(by: { $0.key < $1.key }) {
            _ = try await world.apply(
                .closeSlots(slots, epoch: next.epoch, home: next.home, instead: nil), to: group)
        }
        return !closing.isEmpty
    }

    func handOver(
        _ slots: [Int], _ next: HomeSlots.Handover, of group: GroupID, _ view: ManagementState
    ) async throws -> Bool {
        if view.wasDestroyed(next.home) { return try await redirect(slots, next, of: group, view) }
        // Taken after they were closed: nothing is added from then on.
        guard let source = try await world.leading(group, { HandoverSource($0.state, of: group) }) else { return false }
        let entries = source.entries(in: slots)
        do {
            for start in stride(from: 0, to: entries.count, by: Self.handoverPortion) {
                let part = entries[start..<min(start + Self.handoverPortion, entries.count)]
                _ = try await world.apply(.handOver(epoch: next.epoch, Array(part)), to: next.home)
            }
            _ = try await world.apply(.openSlots(slots, epoch: next.epoch), to: next.home)
        } catch let refused as Refused where refused.code == .sealed {
            return try await redirect(slots, next, of: group, view)
        }
        _ = try await world.apply(.releaseSlots(slots, epoch: next.epoch), to: group)
        return true
    }

    /// The next home takes nothing any more. Where it had opened the slots after all, and handed them on, somebody knows a
    /// later epoch than this group offers.
    private func redirect(
        _ slots: [Int], _ next: HomeSlots.Handover, of group: GroupID, _ view: ManagementState
    ) async throws -> Bool {
        let following = slots.filter { view.slots[$0].epoch == next.epoch + 1 && view.slots[$0].home != group }
        guard following.count == slots.count else {
            return try await settle(slots, next, of: group, view)
        }
        try await offer(slots, next, of: group, view)
        return true
    }

    /// Closes slots for their homes by the map, in the epoch behind the one that they were closed in.
    private func offer(
        _ slots: [Int], _ next: HomeSlots.Handover, of group: GroupID, _ view: ManagementState
    ) async throws {
        let byHome = Dictionary(grouping: slots, by: { view.slots[$0].home })
        for (home, slots) in byHome.sorted(by: { $0.key < $1.key }) {
            _ = try await world.apply(
                .closeSlots(slots, epoch: next.epoch + 1, home: home, instead: next.home), to: group)
        }
    }

    /// The same for slots that changed their home more than once meanwhile, or are to stay: whether anybody opened them
    /// is asked first. Nobody will, since what the next home has not taken only this group could hand on.
    private func settle(
        _ slots: [Int], _ next: HomeSlots.Handover, of group: GroupID, _ view: ManagementState
    ) async throws -> Bool {
        let known = try await knowledge(of: slots, besides: group, view)
        let over = slots.filter { (known[$0]?.epoch ?? 0) >= next.epoch }
        if !over.isEmpty { _ = try await world.apply(.releaseSlots(over, epoch: next.epoch), to: group) }
        let left = slots.filter { (known[$0]?.epoch ?? 0) < next.epoch && view.slots[$0].epoch > next.epoch }
        let staying = left.filter { view.slots[$0].home == group }
        try await open(staying, of: group, view)
        try await offer(left.filter { view.slots[$0].home != group }, next, of: group, view)
        guard over.count + left.count == slots.count else {
            throw WorkflowError(
                .unavailable,
                "slots \(slots) wait for \(next.home), which is sealed; they go on once their next home is known")
        }
        return true
    }

    private func open(_ slots: [Int], of group: GroupID, _ view: ManagementState) async throws {
        let byEpoch = Dictionary(grouping: slots, by: { view.slots[$0].epoch })
        for (epoch, slots) in byEpoch.sorted(by: { $0.key < $1.key }) {
            _ = try await world.apply(.openSlots(slots, epoch: epoch), to: group)
        }
    }

    // MARK: Slots that nobody has

    /// Where something was given up by force, slots may be gone with it before they were handed over. Their home by the map
    /// opens them once all others say that they have none of them: ids that had been taken there are free again.
    ///
    /// A slot that is handed over between two answers may be in none of them. Then somebody knows a later epoch when asked
    /// once more.
    func openLostSlots(of group: GroupID, _ look: Look, _ view: ManagementState) async throws -> Bool {
        guard view.surrenders > 0, !look.isSealed else { return false }
        let missing = Set(try await missing(of: awaited(by: group, look, view), view))
        guard !missing.isEmpty else { return false }
        // They may have another home by now, which looks for them as well.
        let view = try await world.freshView()
        let waiting = awaited(by: group, look, view).filter(missing.contains)
        let first = try await knowledge(of: waiting, besides: group, view)
        // Who knows of a later epoch has a newer map than this node.
        let candidates = waiting.filter { slot in
            first[slot].map { !$0.isHeld && $0.epoch <= view.slots[slot].epoch } ?? false
        }
        guard !candidates.isEmpty else { return false }
        let second = try await knowledge(of: candidates, besides: group, view)
        let lost = candidates.filter { first[$0] == second[$0] || mutated(.opensSlotsOnTheirWay) }
        if !lost.isEmpty {
            world.log("\(lost.count) slots were given up by force: they begin anew", group: group, isError: true)
            try await open(lost, of: group, view)
        }
        guard lost.count == candidates.count else {
            throw WorkflowError(.unavailable, "slots are on their way; they are looked for again")
        }
        return true
    }

    /// Slots whose home a group is by the map, and not by its log.
    private func awaited(by group: GroupID, _ look: Look, _ view: ManagementState) -> [Int] {
        (0..<SlotMap.count).filter { slot in
            let (wanted, own) = (view.slots[slot], look.slots[slot])
            guard wanted.home == group, wanted.epoch > own?.epoch ?? 0 else { return false }
            return own == nil || own?.phase == .released
        }
    }

    /// Those of `slots` that their former homes do not have. Nearly always they do, and then nobody else is asked.
    private func missing(of slots: [Int], _ view: ManagementState) async throws -> [Int] {
        var missing: [Int] = []
        let byFormer = Dictionary(grouping: slots) { view.slots[$0].former }
        for (former, slots) in byFormer.sorted(by: { $0.key < $1.key }) {
            guard view.cluster(of: former) != nil else {
                missing += slots
                continue
            }
            missing += zip(slots, try await knowledge(of: slots, in: former)).filter { !$0.1.isHeld }.map(\.0)
        }
        return missing
    }

    private func knowledge(of slots: [Int], in group: GroupID) async throws -> [SlotKnowledge] {
        var known = try await world.ask(SlotsQuestion(slots: slots), of: group)
        guard known.count == slots.count else {
            throw WorkflowError(.unexpectedAnswer, "\(group) was asked for other slots")
        }
        // The first home of all has not opened its slots yet, and will.
        if group == ExecutionCluster.commonGroup {
            for slot in known.indices where known[slot].epoch == 0 { known[slot].isHeld = true }
        }
        return known
    }

    /// What all other groups know of slots, by their logs.
    /// - Throws: where one does not answer. It may be the one that has them.
    private func knowledge(
        of slots: [Int], besides group: GroupID, _ view: ManagementState
    ) async throws -> [Int: SlotKnowledge] {
        var known = Dictionary(uniqueKeysWithValues: slots.map { ($0, SlotKnowledge()) })
        for cluster in view.clusters.sorted().map(\.value) where cluster.group != group {
            for (slot, told) in zip(slots, try await knowledge(of: slots, in: cluster.group)) { known[slot]?.add(told) }
        }
        return known
    }
}
