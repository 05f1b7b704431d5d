import FlotillaIO
import FlotillaRaft

extension RaftGroup {
    /// Applies what is committed, wakes who waited for it.
    func applyCommitted() {
        var answers: [(Completion<Answer>, Answer)] = []
        var entries: [Entry] = []
        if stateMachine.isReadyToApply { swap(&entries, &unapplied) }
        // Also when the group stops on the way: what was applied before is answered.
        defer { for (completion, answer) in answers { completion.finish(.success(answer)) } }
        for entry in entries {
            do throws(ApplyError) {
                switch entry.kind {
                case .empty: break
                case .command: try applyCommand(entry, &answers)
                case .configuration: try applyConfiguration(entry)
                }
            } catch {
                // To skip it would let this replica diverge from those that know it.
                let message = "entry \(entry.index) of \(identity.group) cannot be applied by this version: \(error)"
                logger.error("the group stops on this node", ["reason": message])
                return stop(GroupError(.stopped, message))
            }
            if isSnapshotDue(behind: entry.index) { takeSnapshot(behind: entry) }
        }
        if let last = entries.last {
            metrics.applied += UInt64(entries.count)
            appliedTerm = last.term
            core.applied(through: last.index)
            campaignIfDue()
            stateMachine.didApplyBatch()
        }
        for completion in reads.takeReady(at: core.appliedIndex) { completion.finish(.success(())) }
    }

    /// The only voter need not wait for a leader that cannot be, nor need the first member of a new group.
    func campaignIfDue() {
        guard core.status.role == .follower, core.status.leader == nil, withdrawal == nil else { return }
        let configuration = core.configuration
        let isAlone = configuration.voters == [identity.replica] && !configuration.isJoint
        if isAlone || isFirstOfNewGroup { core.campaign() }
    }

    /// With every tick, for as long as an election timeout: the others may begin a little later than the first member of a
    /// new group, which would have to wait for that timeout.
    func campaignAgain() {
        guard isFirstOfNewGroup, repeatedCampaigns < settings.electionTicks, core.status.leader == nil,
            core.status.role == .follower || core.status.role == .preCandidate
        else { return }
        repeatedCampaigns += 1
        core.campaign()
    }

    private var isFirstOfNewGroup: Bool {
        identity.replica == ReplicaID(1) && core.appliedIndex == LogIndex(1)
    }

    private func applyCommand(
        _ entry: Entry, _ answers: inout [(Completion<Answer>, Answer)]
    ) throws(ApplyError) {
        let command: Command
        do {
            command = try Command(decoding: entry.payload)
        } catch {
            throw ApplyError(error.code == .unknownField ? .unknownField : .damagedCommand, error.description)
        }
        guard command.kind == identity.kind else {
            throw ApplyError(.unknownCommand, "a command for a \(command.kind) group in a \(identity.kind) group")
        }
        guard command.featureLevel <= context.featureLevel.supported else {
            throw ApplyError(
                .featureLevelTooHigh,
                "feature level \(command.featureLevel); this binary supports \(context.featureLevel.supported): upgrade it"
            )
        }
        let answer: Answer
        switch sessions.lookUp(command.request, in: core.configuration) {
        case .fresh:
            time = max(time, command.timestamp)
            answer = try stateMachine.apply(command, at: entry.index, time: time)
            sessions.record(answer, for: command.request)
        case .applied(let known): answer = known
        case .stale: return
        }
        if command.request.client == client, let item = pending.remove(command.request.sequence) {
            answers.append((item.completion, answer))
        }
    }

    private func applyConfiguration(_ entry: Entry) throws(ApplyError) {
        let change: ConfigurationChange
        do {
            change = try ConfigurationChange(decodingPayload: entry.payload)
        } catch {
            throw ApplyError(error.code == .unknownField ? .unknownField : .damagedCommand, error.description)
        }
        let former = core.configuration
        let configuration = core.applyConfiguration(change)
        membersDidChange(from: former)
        sessions.retain(membersOf: configuration)
        logger.info(
            "\(identity.group) has a new configuration",
            [
                "index": entry.index.description,
                "voters": configuration.voters.map { "\($0.rawValue)" }.joined(separator: ","),
                "outgoing": configuration.outgoingVoters.map { "\($0.rawValue)" }.joined(separator: ","),
                "learners": configuration.learners.map { "\($0.rawValue)" }.joined(separator: ","),
            ])
    }
}

/// The level of features that the cluster agreed on through its management group. Nobody proposes above it.
public final class FeatureLevel: Sendable {
    /// The highest level that this binary understands.
    public let supported: UInt32
    private let level: Lock<UInt32>

    /// What this version of the library understands.
    public static let newest: UInt32 = 1

    public init(supported: UInt32 = FeatureLevel.newest, agreed: UInt32 = 1) {
        precondition(agreed <= supported, "level \(agreed) is agreed on, this binary supports \(supported)")
        self.supported = supported
        level = Lock(agreed)
    }

    public var agreed: UInt32 { level.withLock { $0 } }

    /// The management group raised it. Never falls; never above what is supported, since a node that does not support
    /// it has stopped its groups.
    public func raise(to agreed: UInt32) {
        level.withLock { $0 = max($0, min(agreed, supported)) }
    }
}

/// Counters of one group on one node.
struct GroupMetrics {
    var applied: UInt64 = 0
    var snapshotsTaken: UInt64 = 0
    var snapshotsInstalled: UInt64 = 0
    var snapshotChunksFetched: UInt64 = 0
    var lastSnapshot: SnapshotStore.SaveReport?
}
