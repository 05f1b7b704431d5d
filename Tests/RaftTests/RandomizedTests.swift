import Testing

@testable import FlotillaRaft

#if canImport(Glibc)
    import Glibc
#endif

/// Random histories with loss, duplication, reordering, partitions, slow disks, crashes that drop unsynced writes,
/// membership changes, transfers, snapshots and reads. FLOTILLA_RAFT_SEED replays one seed.
@Suite struct RandomizedTests {
    private static var seeds: [UInt64] {
        if let text = getenv("FLOTILLA_RAFT_SEED"), let seed = UInt64(String(cString: text)) {
            return [seed]
        }
        if let text = getenv("FLOTILLA_RAFT_SEEDS"), let count = UInt64(String(cString: text)) {
            return Array(1...count)
        }
        return Array(1...250)
    }

    /// A broken precondition ends the process: in a long run, the last of these lines names the seed.
    private static func announce(_ seed: UInt64) {
        guard getenv("FLOTILLA_RAFT_SEEDS") != nil else { return }
        let line = "FLOTILLA_RAFT_SEED=\(seed)\n"
        _ = line.withCString { write(STDERR_FILENO, $0, line.utf8.count) }
    }

    @Test("no history of faults breaks a safety rule, and the group works again after them")
    func safetyUnderFaults() {
        for seed in Self.seeds {
            Self.announce(seed)
            var driver = RandomDriver(seed: seed)
            driver.run(steps: 200)
            if let failure = driver.cluster.failure {
                Issue.record("FLOTILLA_RAFT_SEED=\(seed): \(failure)")
                return
            }
            driver.healAndCheck()
            if let failure = driver.cluster.failure {
                Issue.record("FLOTILLA_RAFT_SEED=\(seed), after the faults: \(failure)")
                return
            }
        }
    }
}

struct RandomDriver {
    let cluster: Cluster
    var random: SplitMix64
    private var stepCount = 0
    private var proposalCount = 0
    private var readCount: UInt64 = 0
    /// The highest index that was known to be committed when a read was asked.
    private var readFloors: [UInt64: LogIndex] = [:]
    private var partition: Set<UInt64> = []
    /// In percent.
    private let faultRate: Int
    private let lossRate: Int
    private let diskSpeed: Int
    /// Disks lose what they acknowledged, one at a time, in a group that stays as it is: two such losses, or one among
    /// two voters, would rightly end it.
    private let damagesDisks: Bool

    init(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        faultRate = random.below(15)
        lossRate = random.below(3) == 0 ? 0 : random.below(8)
        diskSpeed = [30, 70, 95][random.below(3)]
        let voters = [3, 3, 5, 2, 1][random.below(5)]
        let usesPreVote = random.below(4) > 0
        // With neither, a voter that campaigned among former members stays ahead of the leader's term.
        let checksQuorum = random.below(4) > 0 || !usesPreVote
        let appliesOnlyDurable = random.below(3) == 0
        let removedLeader = [RemovedLeader.stepsDownAtOnce, .stepsDownWhenReplaceable][random.below(2)]
        let isQuietable = random.below(3) == 0
        let hasSmallLimits = random.below(2) == 0
        let windowBytes = [0, 60, 400, Int.max][random.below(4)]
        let sparesMessages = random.below(2) == 0
        cluster = Cluster(voters: voters, learners: random.below(2), seed: seed) { options in
            options.windowBytes = windowBytes
            options.usesPreVote = usesPreVote
            options.checksQuorum = checksQuorum
            options.appliesOnlyDurable = appliesOnlyDurable
            options.removedLeader = removedLeader
            options.quietAfterTicks = isQuietable ? 3 : 0
            options.skipsHeartbeatsBesideAppends = sparesMessages
            options.sparesAnswersToNotices = sparesMessages
            if hasSmallLimits {
                options.maxAppendBytes = 60
                options.maxInFlightBytes = 100
                options.maxCommittedBytesPerEffects = 80
                options.maxUncommittedBytes = 60
            }
        }
        damagesDisks = voters >= 3 && random.below(4) == 0
        cluster.snapshotEvery = random.below(3) == 0 ? nil : 4 + random.below(12)
        cluster.restartsWithoutEntries = windowBytes < .max
        self.random = random
    }

    mutating func run(steps: Int) {
        for _ in 0..<steps {
            if cluster.failure != nil { return }
            step()
        }
    }

    private mutating func anyReplica() -> ReplicaID {
        let ids = cluster.ids
        return ids[random.below(ids.count)]
    }

    /// One step is a round of ordinary work, in a random order and not all of it, and now and then a fault.
    private mutating func step() {
        for id in cluster.ids where cluster.replicas[id]!.isUp {
            if random.below(4) > 0 { cluster.collect(id) }
            if random.below(100) < diskSpeed { cluster.persistOne(id) }
            if random.below(12) == 0 { cluster.persistTogether(id) }
            if random.below(3) > 0 { cluster.applyOne(id) }
            if random.below(2) == 0 { cluster.readOne(id) }
            if random.below(4) == 0 { cluster.replicas[id]!.raft.tick(1 + random.below(2)) }
        }
        deliverSome()
        let id = anyReplica()
        let isUp = cluster.replicas[id]!.isUp
        switch random.below(100) {
        case 0..<30: if isUp { propose(id) }
        case 30..<40: if isUp { read(id) }
        case 40..<(40 + faultRate): fault(id)
        case 55..<58: if !damagesDisks, let leader = agreedLeader() { changeMembers(leader) }
        case 58: partition = []
        default: break
        }
        checkReads()
        stepCount += 1
        if stepCount % 16 == 0 { cluster.checkLogsMatch() }
    }

    private mutating func fault(_ id: ReplicaID) {
        let isUp = cluster.replicas[id]!.isUp
        switch random.below(9) {
        case 0, 1: toggleCrash(id)
        case 2: partition = Set(cluster.ids.map(\.rawValue).filter { _ in random.below(3) == 0 })
        case 3: if isUp { cluster.replicas[id]!.raft.transferLeadership(to: anyReplica()) }
        case 4: if isUp { nodeEvent(id) }
        case 5: if isUp { report(id) }
        case 6: if isUp { cluster.replicas[id]!.raft.tick(12 + random.below(10)) }
        case 7: damage(id)
        default:
            for other in cluster.ids where !cluster.replicas[other]!.isUp { cluster.restart(other) }
        }
    }

    private mutating func deliverSome() {
        for _ in 0..<random.below(2 * cluster.network.count + 1) where !cluster.network.isEmpty {
            // Mostly in order; sometimes any message.
            let position = random.below(8) == 0 ? random.below(cluster.network.count) : 0
            let message = cluster.network[position]
            let isCut =
                partition.contains(message.from.rawValue) != partition.contains(message.to.rawValue)
            let fate = random.below(100)
            // Some are delivered now and once more later.
            let isRepeated = fate < lossRate && cluster.network.count < 400
            if !isRepeated { cluster.network.remove(at: position) }
            let isLost = fate >= 100 - lossRate
            if !isCut && !isLost { cluster.deliver(message) }
        }
    }

    private mutating func propose(_ id: ReplicaID) {
        proposalCount += 1
        let payloads = (0...random.below(3)).map { Array("\(proposalCount).\($0)".utf8) }
        _ = cluster.replicas[id]!.raft.propose(payloads, isUrgent: random.below(2) == 0)
    }

    private mutating func read(_ id: ReplicaID) {
        readCount += 1
        readFloors[readCount] = cluster.checks.commitMax
        cluster.replicas[id]!.raft.readIndex(context: readCount)
    }

    private mutating func checkReads() {
        for id in cluster.ids {
            for state in cluster.replicas[id]!.readStates
            where state.index < readFloors[state.context]! {
                cluster.failure =
                    "read \(state.context) got \(state.index), \(readFloors[state.context]!) was committed"
            }
            cluster.replicas[id]!.readStates = []
            cluster.replicas[id]!.failedReads = []
        }
    }

    private mutating func toggleCrash(_ id: ReplicaID) {
        if cluster.replicas[id]!.isUp {
            cluster.crash(id)
            if random.below(2) == 0 { cluster.restart(id) }
        } else {
            cluster.restart(id)
        }
    }

    private mutating func changeMembers(_ id: ReplicaID) {
        let raft = cluster.replicas[id]!
        guard raft.status.role == .leader, raft.configuration.nextReplica.rawValue < 9 else {
            if raft.configuration.isJoint { cluster.change(id.rawValue, ConfigurationChange([])) }
            return
        }
        let members = raft.configuration.members
        var operations: [ConfigurationChange.Operation] = []
        for _ in 0...random.below(3) {
            let target = members[random.below(members.count)].replica
            switch random.below(5) {
            case 0: operations.append(.addLearner(NodeID(100 + random.next() % 100)))
            case 1: operations.append(.addVoter(NodeID(200 + random.next() % 100)))
            case 2: operations.append(.promote(target))
            case 3: operations.append(.demote(target))
            default: if raft.configuration.voters.count > 1 { operations.append(.remove(target)) }
            }
        }
        if operations.isEmpty && !raft.configuration.isJoint { return }
        let transitions: [ConfigurationChange.Transition] = [
            .automatic, .jointImplicit, .jointExplicit,
        ]
        cluster.change(
            id.rawValue, ConfigurationChange(operations, transition: transitions[random.below(3)]))
        bootNewMembers()
    }

    /// Nodes that a configuration names start empty.
    private func bootNewMembers() {
        for id in cluster.ids {
            for member in cluster.replicas[id]!.raft.configuration.members
            where cluster.replicas[member.replica] == nil {
                cluster.boot(member.replica)
            }
        }
    }

    private mutating func nodeEvent(_ id: ReplicaID) {
        switch random.below(5) {
        case 0: cluster.replicas[id]!.raft.leaderLost()
        case 1: cluster.replicas[id]!.raft.forgetLeader()
        case 2: cluster.replicas[id]!.raft.wake()
        case 3: cluster.replicas[id]!.raft.setLivenessEpoch(random.next() % 3)
        default: cluster.replicas[id]!.raft.campaign()
        }
        bootNewMembers()
    }

    private mutating func damage(_ id: ReplicaID) {
        let isAnyRecovering = cluster.ids.contains { cluster.replicas[$0]!.disk.recoveringUntil != nil }
        if damagesDisks, !isAnyRecovering { cluster.damage(id, lost: 1 + random.below(4)) }
    }

    private mutating func report(_ id: ReplicaID) {
        let other = anyReplica()
        switch random.below(3) {
        case 0: cluster.replicas[id]!.raft.reportUnreachable(other)
        case 1: cluster.replicas[id]!.raft.reportSnapshot(other, succeeded: false)
        default: cluster.replicas[id]!.raft.reportSnapshot(other, succeeded: true)
        }
    }

    /// Everyone is up and hears everyone: the group has to take a proposal and to agree.
    mutating func healAndCheck() {
        partition = []
        for id in cluster.ids where !cluster.replicas[id]!.isUp { cluster.restart(id) }
        bootNewMembers()
        for _ in 0..<400 {
            for id in cluster.ids { cluster.replicas[id]!.raft.wake() }
            cluster.tickAll()
            bootNewMembers()
            if cluster.failure != nil { return }
            guard let leader = agreedLeader() else { continue }
            if case .appended(let first, _) = cluster.propose(leader.rawValue, "after the faults") {
                cluster.settle()
                cluster.tickAll(2)
                if let entry = cluster.history[first],
                    entry.payload == Array("after the faults".utf8)
                {
                    checkAgreement()
                    return
                }
            }
        }
        let lines = cluster.ids.map { cluster.replicas[$0]!.raft.summary }
        cluster.failure = "no progress after the faults:\n" + lines.joined(separator: "\n")
    }

    private func agreedLeader() -> ReplicaID? {
        let leading = cluster.ids.filter { cluster.replicas[$0]!.raft.status.role == .leader }
        return leading.max {
            cluster.replicas[$0]!.raft.status.term < cluster.replicas[$1]!.raft.status.term
        }
    }

    private func checkAgreement() {
        for _ in 0..<200 {
            cluster.tickAll()
            bootNewMembers()
            guard let leader = agreedLeader() else { continue }
            let raft = cluster.replicas[leader]!
            let members = raft.configuration.members.map(\.replica)
            if members.allSatisfy({
                cluster.replicas[$0]?.machine == cluster.replicas[leader]!.machine
            }) {
                cluster.checkLogsMatch()
                cluster.checkIdle()
                return
            }
        }
        let lines = cluster.ids.map { cluster.replicas[$0]!.raft.summary }
        cluster.failure = "members do not catch up:\n" + lines.joined(separator: "\n")
    }
}
