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

    /// The next home was sealed before it opened the slots, so nobody has opened them. Where it had opened them after all,
    /// and handed them on, the one behind it has a later epoch than this group offers.
    private func redirect(
        _ slots: [Int], _ next: HomeSlots.Handover, of group: GroupID, _ view: ManagementState
    ) async throws -> Bool {
        let following = slots.filter { view.slots[$0].epoch == next.epoch + 1 && view.slots[$0].home != group }
        guard following.count == slots.count else {
            throw WorkflowError(
                .unavailable,
                "slots \(slots) wait for \(next.home), which is sealed; they go on once their next home is known")
        }
        for (home, slots) in Dictionary(grouping: following, by: { view.slots[$0].home }).sorted(by: { $0.key < $1.key }
        ) {
            _ = try await world.apply(
                .closeSlots(slots, epoch: next.epoch + 1, home: home, instead: next.home), to: group)
        }
        return true
    }
}
