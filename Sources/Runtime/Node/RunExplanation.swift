import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension NodeServices {
    /// The error with the reason why a run's cluster does not answer, as far as this node can find out: asked only when
    /// somebody waits in vain.
    func explaining(_ error: WorkflowError, of id: String) async -> WorkflowError {
        let view = machines.management.withLock { $0 }
        let key = RunKey(defaultNamespace, id)
        // Where it was last heard of; else who would know.
        let known = view.clusters.members.map(\.value).filter { $0.runs[key] != nil }.min { $0.id < $1.id }
        let group = machines.namedGroup(of: id) ?? machines.home(of: id)
        guard let cluster = known ?? view.cluster(of: group) else { return error }
        let status = await self.view(view, asking: [cluster]).status(of: cluster)
        guard let problem = status.problem else { return error }
        return WorkflowError(
            error.code, "workflow '\(id)' waits for cluster \(cluster.id.text): \(problem) (\(error.message))")
    }
}
