import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Collects on the management leader what clusters report, and proposes it: two entries a second, whatever the number of
/// clusters, or as many as the runs need that are named.
final class ReportCollector: Sendable {
    private let batch = Lock(WorkflowReportBatch())
    private let bell = Signal()

    func add(_ reports: [WorkflowReport], at now: MonotonicTime) {
        batch.withLock { batch in
            for report in reports { batch.add(report, at: Int64(clamping: now.nanoseconds)) }
        }
        bell.ring()
    }

    /// How often it looks whether so much has come that it is to be proposed early.
    private static let checkInterval: Duration = .milliseconds(50)

    /// Until the task is cancelled.
    func run(_ core: NodeCore, logger: FlotillaLogger) async {
        for await _ in bell.rings {
            do {
                while let dueAt = batch.withLock({ $0.dueAt }) {
                    let left = dueAt - Int64(clamping: core.loop.now.nanoseconds)
                    guard left > 0 else { break }
                    try await core.loop.sleep(for: min(.nanoseconds(left), Self.checkInterval))
                }
                let commands = batch.withLock { $0.take() }
                guard !commands.isEmpty, let group = core.hosted[NodeStart.managementGroup.group] else { continue }
                for command in commands {
                    _ = try await group.propose(
                        command.map { ManagementOperation.reportWorkflows($0).encoded }, ownerEpoch: 0)
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
