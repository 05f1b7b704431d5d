import FlotillaRaft

/// Which nodes a cluster gets: those with the fewest places, in different failure domains, by `spreadLabel`. A place in
/// a domain that the cluster has already weighs as much as one more place of the node's.
struct MemberChoice {
    let state: ManagementState
    /// Who may be chosen: such as all nodes that are alive, or that know a type.
    var candidates: Set<NodeID>

    init(_ state: ManagementState, among candidates: Set<NodeID>? = nil) {
        self.state = state
        let stay = state.nodes.values.filter { !$0.isDraining }.map(\.node)
        self.candidates = Set(stay).intersection(candidates ?? Set(stay))
    }

    /// As many as the policy wants, or the largest odd number that there are.
    /// - Returns: nil if there are fewer than a cluster may begin with.
    func founders(count: Int? = nil) -> [NodeID]? {
        var size = min(count ?? state.policy.targetClusterSize, candidates.count)
        let least = min(state.policy.clusterSizes.lowerBound, state.nodes.count)
        if count == nil, size < state.policy.targetClusterSize, size.isMultiple(of: 2), size > least { size -= 1 }
        guard size >= max(1, least) else { return nil }
        var chosen: [NodeID] = []
        while chosen.count < size, let next = next(beside: chosen) { chosen.append(next) }
        return chosen
    }

    /// One more member beside those that there are.
    func next(beside members: some Collection<NodeID>) -> NodeID? {
        let domains = members.map(domain)
        func weight(_ node: NodeID) -> (Int, Int, NodeID) {
            let places = state.memberships[node]?.count ?? 0
            let domain = domain(node)
            let neighbours = domain == nil ? 0 : domains.filter { $0 == domain }.count
            return (places + neighbours, places, node)
        }
        return candidates.subtracting(members).min { weight($0) < weight($1) }
    }

    private func domain(_ node: NodeID) -> ByteText? {
        let key = ByteText(state.policy.spreadLabel)
        return state.nodes[node]?.labels.first { $0.key == key }?.value
    }
}
