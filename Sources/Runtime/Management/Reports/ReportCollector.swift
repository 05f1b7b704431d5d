import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Collects on the management leader what clusters report, and proposes it: two entries a second at most, whatever the
/// number of clusters and runs.
final class ReportCollector: Sendable {
    private let batch = Lock(WorkflowReportBatch())
    private let bell = Signal()

    func add(_ reports: [WorkflowReport], at now: MonotonicTime) {
        batch.withLock { batch in
            for report in reports { batch.add(report, at: Int64(clamping: now.nanoseconds)) }
        }
        bell.ring()
    }

    /// Until the task is cancelled.
    func run(_ core: NodeCore, logger: FlotillaLogger) async {
        for await _ in bell.rings {
            do {
                try await core.loop.sleep(for: .nanoseconds(WorkflowReportBatch.delay))
                let reports = batch.withLock { $0.take() }
                guard !reports.isEmpty, let group = core.hosted[NodeStart.managementGroup.group] else { continue }
                for start in stride(from: 0, to: reports.count, by: WorkflowReportBatch.countLimit) {
                    let part = reports[start..<min(reports.count, start + WorkflowReportBatch.countLimit)]
                    _ = try await group.propose(
                        part.map { ManagementOperation.reportWorkflows($0).encoded }, ownerEpoch: 0)
                }
            } catch is CancellationError {
                return
            } catch {
                // Whoever sent them sees that they were not heard.
                logger.debug("reports of workflows were not recorded", ["error": "\(error)"])
            }
        }
    }
}
