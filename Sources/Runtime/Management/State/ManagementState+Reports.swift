import FlotillaRaft

// What clusters report. Nothing is refused: a report of one cluster may share its command with those of others, and one
// that does not fit is as good as lost. Its sender sees in `reportedThrough` that it was not heard.

extension ManagementState {
    /// - Returns: whether anything changed.
    mutating func take(_ report: WorkflowReport, time: Int64) -> Bool {
        guard let cluster = clusters[report.cluster], report.incarnation == cluster.incarnation,
            report.through > cluster.reportedThrough,
            report.isWhole || report.after == cluster.reportedThrough
        else { return false }
        // Nothing starts behind a seal.
        if case .sealed = cluster.phase { return false }
        if report.isWhole {
            let named = Set(report.started.map(\.key))
            for (key, _) in cluster.runs.members where !named.contains(key) { drop(key, from: report.cluster) }
        }
        for ended in report.ended where clusters[report.cluster]?.runs[ended.key]?.runID == ended.runID {
            if let target = ended.movedTo.flatMap({ clustersByGroup[$0] }) {
                countMove(from: report.cluster, to: target)
            }
            drop(ended.key, from: report.cluster)
        }
        for started in report.started { place(started.key, started.run, in: report.cluster, time: time) }
        settle(
            report.cluster, time: time,
            wasBusy: !report.started.isEmpty || !report.ended.isEmpty || report.endedWithin > 0)
        _ = clusters.update(report.cluster) { $0.reportedThrough = report.through }
        if report.sealEpoch > 0, clusters[report.cluster]?.activeCount == 0 {
            // Also one that was to be used again after all: the seal was on its way.
            forget(report.cluster)
            _ = clusters.update(report.cluster) { $0.phase = .sealed(epoch: report.sealEpoch) }
        }
        return true
    }

    /// A workflow id stands in one cluster: where two claim it, for a moment or because one of them is behind, the
    /// later run counts, and of one run the later owner.
    private mutating func place(_ key: RunKey, _ run: LocatedRun, in id: ClusterID, time: Int64) {
        if let other = locations[key], other != id {
            guard let known = clusters[other]?.runs[key], run.supersedes(known) else { return }
            // It may have moved on the rebalancer's order.
            countMove(from: other, to: id)
            drop(key, from: other)
            settle(other, time: time, wasBusy: true)
        } else {
            drop(key, from: id)
        }
        _ = clusters.update(id) { $0.insert(run, for: key) }
        locations.insert(id, for: key)
    }

    /// A run has moved, on the rebalancer's order if there is one.
    private mutating func countMove(from id: ClusterID, to target: ClusterID) {
        _ = clusters.update(id) { cluster in
            if let left = cluster.outgoing[target] { cluster.outgoing[target] = left > 1 ? left - 1 : nil }
        }
    }

    private mutating func drop(_ key: RunKey, from id: ClusterID) {
        if locations[key] == id { locations.remove(key) }
        _ = clusters.update(id) { $0.remove(key) }
    }

    /// Notes since when nothing runs there. A burst between two reports counts as well.
    private mutating func settle(_ id: ClusterID, time: Int64, wasBusy: Bool) {
        _ = clusters.update(id) { cluster in
            if cluster.activeCount > 0 {
                cluster.idleSince = nil
            } else if wasBusy || cluster.idleSince == nil {
                cluster.idleSince = time
            }
        }
    }
}
