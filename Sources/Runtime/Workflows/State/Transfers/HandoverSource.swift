import FlotillaRaft

/// What a group knows of workflow ids, as it was at one moment: a copy that shares its pieces with the state, to be
/// looked through away from the loop.
struct HandoverSource: Sendable {
    private let group: GroupID
    private let runs: RunMap
    private let transfers: Transfers

    init(_ state: WorkflowState, of group: GroupID) {
        (self.group, runs, transfers) = (group, state.runs, state.transfers)
    }

    /// What the next home of slots must know of them: where their runs are, and which ids are reserved. Takes time in
    /// proportion to all runs. By key.
    func entries(in slots: [Int]) -> [TransferOperation.HandoverEntry] {
        let wanted = Set(slots)
        var found: [RunKey: Transfers.Address] = [:]
        for slot in slots {
            for (key, address) in transfers.addresses.slots[slot] ?? [:] { found[key] = address }
        }
        runs.visit { key, run in
            guard wanted.contains(SlotMap.slot(of: key)) else { return }
            found[key] = Transfers.Address(runID: run.runID, group: group, epoch: run.epoch + 1)
        }
        for moving in transfers.outgoing.values where wanted.contains(SlotMap.slot(of: moving.key)) {
            found[moving.key] = moving.run.addressBeforeMove(group)
        }
        return found.sorted { $0.key < $1.key }.map { TransferOperation.HandoverEntry(key: $0.key, address: $0.value) }
    }
}

extension Run {
    /// Of a frozen run: where it was before it moved. The epoch rose when it was frozen.
    func addressBeforeMove(_ source: GroupID) -> Transfers.Address {
        Transfers.Address(runID: runID, group: source, epoch: epoch)
    }

    /// Of a frozen run: where it is once its target has taken it.
    func addressAfterMove(_ target: GroupID) -> Transfers.Address {
        Transfers.Address(runID: runID, group: target, epoch: epoch + 1)
    }
}
