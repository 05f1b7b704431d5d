import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Tells management what began and ended in the clusters that this node leads: a few messages a second from a busy node,
/// whatever it leads, and none from an idle one.
struct WorkflowReporter: Sendable {
    let core: NodeCore
    let machines: NodeMachines
    let router: WorkflowRouter
    let logger: FlotillaLogger

    /// What happens meanwhile travels in one message. A report that management does not hear is sent again after as long.
    static let delay: Duration = .milliseconds(200)

    /// Until the task is cancelled.
    func run() async {
        let attention = machines.reportAttention
        for await _ in attention.bell.rings {
            do { try await core.loop.sleep(for: Self.delay) } catch { return }
            let groups = attention.take()
            let reports = await reports(of: groups)
            guard !reports.isEmpty else { continue }
            // Until management is seen to have heard, the groups stay on the list.
            for report in reports { attention.mark(report.group) }
            do {
                try await send(reports.map(\.report))
            } catch is CancellationError {
                return
            } catch {
                logger.debug("reports of workflows were not heard; trying again", ["error": "\(error)"])
            }
        }
    }

    private func reports(of groups: [GroupID]) async -> [(group: GroupID, report: WorkflowReport)] {
        let view = machines.management.withLock { $0 }
        var reports: [(group: GroupID, report: WorkflowReport)] = []
        for id in groups {
            guard let group = core.hosted[id] else { continue }
            guard let cluster = view.cluster(of: id) else {
                // This node is behind: it has not heard of its own cluster yet.
                if !view.hasIssued(id) { machines.reportAttention.mark(id) }
                continue
            }
            guard !cluster.spansFleet else { continue }
            let report = try? await group.asLeader { machine, index in
                (machine as? WorkflowStateMachine)?.report(to: cluster, appliedIndex: index)
            }
            if case let report?? = report { reports.append((id, report)) }
        }
        return reports
    }

    private func send(_ reports: [WorkflowReport]) async throws {
        guard let group = core.hosted[NodeStart.managementGroup.group],
            let leader = try await group.membership().leader
        else { return }
        let request = ReportRuns(reports)
        if leader == core.node {
            machines.reportCollector.add(reports, at: core.loop.now)
        } else {
            _ = try await router.perform(request, on: leader)
        }
    }
}

/// Reports on their way to the management leader, as they stand in its commands.
struct ReportRuns: NodeLevelRequest {
    typealias Reply = Nothing
    static let name = "reportRuns"
    @Base64 var reports: [UInt8]
    var patience: Duration { .seconds(2) }

    init(_ reports: [WorkflowReport]) {
        var writer = ProtobufWriter()
        for report in reports { writer.message(1) { report.write(to: &$0) } }
        self.reports = writer.bytes
    }

    func perform(on services: NodeServices) async throws -> Nothing {
        var reader = ProtobufReader(reports)
        var decoded: [WorkflowReport] = []
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "reports") }
            var inner = try reader.message()
            decoded.append(try WorkflowReport(from: &inner))
        }
        services.machines.reportCollector.add(decoded, at: services.core.loop.now)
        return Nothing()
    }
}
