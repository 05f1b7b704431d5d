import FlotillaActors
import FlotillaRaft

/// What to change about the execution clusters: a pure function of the replicated state and of what the management
/// leader sees. Once its commands are applied it has nothing more to say until something happens.
///
/// It works on a draft of the state, one command at a time, until no rule has anything to do: so each command is valid
/// where it stands, and a second plan finds what the first one left. Commands are lists of operations that belong
/// together; they are to be proposed in this order.
struct RebalancePlanner {
    /// What one plan may do. The rest comes with the next.
    static let commandLimit = 1_000
    /// At how many clusters one plan may look, where each command looks at all of them: a large fleet is planned in more
    /// steps, none of which takes much longer than in a small one.
    static let lookLimit = 100_000
    /// Clusters are merged where the result is filled to this share at most, so that new runs do not split it again.
    static let mergedShare = 0.75

    private(set) var draft: ManagementState
    let observation: FleetObservation
    private let makeID: () -> ClusterID
    private(set) var commands: [[ManagementOperation]] = []
    /// Why the fleet was left as it is, apart from what failures and orders that are under way ask for.
    private(set) var skipReason: String?
    /// A command that the draft did not take: a mistake in a rule. The plan ends before it.
    private(set) var refusal: ManagementRefused?

    /// - Parameters:
    ///   - lookLimit: see there.
    ///   - makeID: ids for new clusters.
    init(
        _ state: ManagementState, _ observation: FleetObservation, lookLimit: Int = RebalancePlanner.lookLimit,
        makeID: @escaping () -> ClusterID
    ) {
        draft = state
        self.observation = observation
        self.makeID = makeID
        let limit = min(Self.commandLimit, max(1, lookLimit / max(1, state.clusters.count)))
        while commands.count < limit, let command = nextCommand() {
            do throws(ManagementRefused) {
                _ = try draft.apply(command, time: observation.now)
            } catch {
                refusal = error
                return
            }
            commands.append(command)
        }
    }

    var policy: ExecutionClusterPolicy { draft.policy }

    private mutating func nextCommand() -> [ManagementOperation]? {
        let load = FleetLoad(draft, observation)
        switch draft.mode {
        case .single: return load.usable.count >= policy.singleClusterBelow ? [.beginMigration] : nil
        case .migrating:
            if let command = migration(load) { return command }
        case .twoTier: break
        }
        if let command = destruction(load) ?? repair(load) { return command }
        guard observation.load <= policy.loadLimit else {
            skipReason = "the fleet is busy: \(observation.load) of its capacity, above \(policy.loadLimit)"
            return nil
        }
        return drainOfIdle(load) ?? poolCreation(load) ?? merger(load) ?? balance(load)
    }

    // MARK: The common cluster

    /// What it has needs somewhere to go.
    private func migration(_ load: FleetLoad) -> [ManagementOperation]? {
        guard let heir = heir(besides: ExecutionCluster.common, load) else {
            return creation(MemberChoice(draft, among: Set(load.usable)).founders())
        }
        guard case .draining(into: nil)? = draft.clusters[ExecutionCluster.common]?.phase else { return nil }
        return [.drainCluster(ExecutionCluster.common, into: heir.id)]
    }

    /// The cluster with the fewest runs that can take what another one has.
    private func heir(besides id: ClusterID, _ load: FleetLoad) -> ExecutionCluster? {
        load.clusters.filter { $0.id != id && $0.isActive && $0.pinnedType == nil }
            .min { (load.runs(of: $0), $0.id) < (load.runs(of: $1), $1.id) }
    }

    // MARK: The end of clusters

    /// Homes move away from a cluster that is to go; once its log is sealed it goes.
    private func destruction(_ load: FleetLoad) -> [ManagementOperation]? {
        for (id, cluster) in draft.clusters.sorted() where !cluster.isActive {
            let slots = draft.slots.slots(of: cluster.group)
            if !slots.isEmpty {
                let homes = homes(besides: id)
                guard !homes.isEmpty else { continue }
                // In turns, so that each gets about as many.
                return homes.indices.compactMap { position in
                    let part = slots.enumerated().filter { $0.offset % homes.count == position }.map(\.element)
                    let version = draft.slots.version + UInt64(position)
                    guard !part.isEmpty else { return nil }
                    return .moveSlots(SlotMove(version: version, slots: part, home: homes[position]))
                }
            }
            if case .sealed(let epoch) = cluster.phase {
                return [.destroyCluster(id, sealEpoch: epoch, isForced: false)]
            }
        }
        return nil
    }

    private func homes(besides id: ClusterID) -> [GroupID] {
        let clusters = draft.clusters.sorted().map(\.value).filter {
            $0.id != id && $0.isActive && $0.pinnedType == nil
        }
        return clusters.map(\.group)
    }

    /// A cluster in which nothing has run for `idleTimeToLive`, unless it is kept ready or is the last home of ids.
    private func drainOfIdle(_ load: FleetLoad) -> [ManagementOperation]? {
        let idle = idleClusters(load)
        for cluster in idle.dropFirst(policy.readyClusters) {
            guard let since = cluster.idleSince, observation.now - since >= policy.idleTimeToLive.clampedNanoseconds,
                draft.slots.slots(of: cluster.group).isEmpty || !homes(besides: cluster.id).isEmpty
            else { continue }
            return [.drainCluster(cluster.id, into: heir(besides: cluster.id, load)?.id)]
        }
        return nil
    }

    /// Nothing runs there, and nothing is on its way; the oldest first.
    private func idleClusters(_ load: FleetLoad) -> [ExecutionCluster] {
        load.clusters.filter { $0.isActive && $0.activeCount == 0 && load.runs(of: $0) == 0 }
    }

    // MARK: New clusters

    private func poolCreation(_ load: FleetLoad) -> [ManagementOperation]? {
        guard idleClusters(load).count < policy.readyClusters else { return nil }
        return creation(MemberChoice(draft, among: Set(load.usable)).founders())
    }

    func creation(_ founders: [NodeID]?) -> [ManagementOperation]? {
        founders.map { [.createCluster(ClusterCreation(cluster: makeID(), founders: $0))] }
    }

    // MARK: Mergers

    /// Two clusters whose runs fit one become one, where no node is left without a cluster by it: fewer nodes than before
    /// share the same clusters.
    private func merger(_ load: FleetLoad) -> [ManagementOperation]? {
        let open = load.clusters.filter { $0.isActive && load.hasQuorum($0) && load.runs(of: $0) > 0 }
            .sorted { (load.runs(of: $0), $0.id) < (load.runs(of: $1), $1.id) }
        let limit = Double(policy.maximumWorkflowsPerCluster) * Self.mergedShare
        let targets = Set(open.flatMap(\.outgoing.keys))
        var places: [NodeID: Int] = [:]
        var heirs: [ByteText?: [ExecutionCluster]] = [:]
        for cluster in open {
            for node in cluster.members.keys { places[node, default: 0] += 1 }
            // The two with the fewest runs of each kind: where those do not fit, none does.
            if heirs[cluster.pinnedType]?.count ?? 0 < 2 { heirs[cluster.pinnedType, default: []].append(cluster) }
        }
        for cluster in open where cluster.outgoing.isEmpty && !targets.contains(cluster.id) {
            guard cluster.members.keys.allSatisfy({ places[$0] ?? 0 > 1 }),
                let heir = heirs[cluster.pinnedType]?.first(where: { $0.id != cluster.id }),
                Double(load.runs(of: heir) + load.runs(of: cluster)) <= limit
            else { continue }
            return [.drainCluster(cluster.id, into: heir.id)]
        }
        return nil
    }
}
