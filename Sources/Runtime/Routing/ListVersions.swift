import FlotillaActors
import FlotillaRaft

struct ListVersions: RunRequest {
    typealias Reply = [WorkflowVersion]
    static let name = "versions"

    var subject: String? { nil }
    func perform(on engine: WorkflowEngine) async throws -> [WorkflowVersion] { try await engine.versions() }
}

/// The versions of workflows that the fleet knows.
public struct WorkflowVersions: Hashable, Sendable {
    /// By name and number.
    public var versions: [WorkflowVersion]
    /// The clusters that did not answer: their nodes and runs are missing.
    public var unavailable: [String] = []
}

extension WorkflowRouter {
    func versions() async throws -> WorkflowVersions {
        let groups = try await workflowGroups()
        let answers = await inPortions(groups) { group in try? await self.perform(ListVersions(), in: group) }
        try Task.checkCancellation()
        var known: [WorkflowType: WorkflowVersion] = [:]
        var unavailable: [String] = []
        for (group, answer) in answers {
            guard let answer else {
                unavailable.append(machines.name(of: group))
                continue
            }
            for version in answer {
                let type = WorkflowType(version.type, version: version.version)
                known[type] = known[type]?.adding(version) ?? version
            }
        }
        guard unavailable.count < groups.count else {
            throw WorkflowError(.unavailable, "none of the \(groups.count) clusters answers; ask again")
        }
        return WorkflowVersions(
            versions: known.sorted { $0.key < $1.key }.map(\.value), unavailable: unavailable)
    }
}

extension WorkflowVersion {
    fileprivate func adding(_ other: WorkflowVersion) -> WorkflowVersion {
        var sum = self
        sum.nodes = Set(nodes).union(other.nodes).sorted()
        sum.running += other.running
        sum.parked += other.parked
        sum.paused += other.paused
        return sum
    }
}

extension Node {
    /// Every version of every workflow that a node ever registered: which live nodes have it, and how many runs need
    /// it.
    public func workflowVersions() async throws -> WorkflowVersions { try await router.versions() }
}
