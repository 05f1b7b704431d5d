@testable import FlotillaRaft

/// Several replicas with disks and a network in memory. Nothing happens by itself: a test, or the random driver,
/// decides what is persisted, applied, delivered or lost, and when.
final class Cluster {
    enum Apply {
        case restore(SnapshotMetadata)
        case entries([Entry])
    }

    /// What survives a crash.
    struct Disk {
        var hardState = HardState()
        var snapshot: SnapshotMetadata?
        /// What stands before the first entry.
        var base = LogPosition.zero
        var entries: [Entry] = []
        var recoveringUntil: LogIndex?

        mutating func write(_ persist: Persist) {
            if let hardState = persist.hardState { self.hardState = hardState }
            if let snapshot = persist.snapshot { install(snapshot) }
            if let first = persist.entries.first {
                entries.removeAll { $0.index >= first.index }
                entries.append(contentsOf: persist.entries)
            }
        }

        /// - Parameter kept: the first entry that stays, if the log holds the snapshot's last one.
        mutating func install(_ metadata: SnapshotMetadata, keepingFrom kept: LogIndex? = nil) {
            snapshot = metadata
            let isCovered = entries.contains {
                $0.index == metadata.index && $0.term == metadata.term
            }
            let end = isCovered ? min(metadata.index, kept?.previous ?? metadata.index) : metadata.index
            if end > base.index {
                let term = isCovered ? entries.first { $0.index == end }!.term : metadata.term
                base = LogPosition(index: end, term: term)
            }
            entries.removeAll { !isCovered || $0.index <= base.index }
        }

        /// What a log store gives for a read.
        func read(from first: LogIndex, bytesMax: Int) -> [Entry] {
            var bytes = 0
            var taken: [Entry] = []
            for entry in entries where entry.index >= first {
                bytes += entry.payload.count
                if bytes > bytesMax && !taken.isEmpty { break }
                taken.append(entry)
            }
            return taken.first?.index == first ? taken : []
        }
    }

    /// A state machine that remembers everything: a digest over all that was applied.
    struct Machine: Hashable {
        var index = LogIndex.zero
        var digest: UInt64 = 0
        var configuration = Configuration()

        mutating func apply(_ entry: Entry) {
            precondition(entry.index == index.next, "applied \(entry.index) after \(index)")
            index = entry.index
            for byte in entry.payload + [entry.kind.rawValue] {
                digest = (digest ^ UInt64(byte)) &* 0x100_0000_01B3
            }
            digest = (digest ^ entry.term.rawValue) &* 0x100_0000_01B3
        }
    }

    var replicas: [ReplicaID: Replica] = [:]
    /// On its way, oldest first.
    var network: [Message] = []
    /// Messages that a directed test wants to be lost.
    var isLost: (Message) -> Bool = { _ in false }
    var changes: [ConfigurationChange] = []
    /// Every entry that some replica applied, by index.
    var history: [LogIndex: Entry] = [:]
    var machines: [LogIndex: Machine] = [:]
    var checks = ClusterChecks()
    var sent: [Message] = []
    private let seed: UInt64
    private let options: RaftOptions.Shared
    var snapshotEvery: Int?
    var failure: String?
    /// Whether a replica that restarts finds its log on disk, and not in memory.
    var restartsWithoutEntries = false

    /// `count` voters and `learners` learners, which start from a snapshot at index 1.
    init(
        voters count: Int, learners: Int = 0, seed: UInt64 = 1,
        configure: (inout RaftOptions) -> Void = { _ in }
    ) {
        self.seed = seed
        var options = RaftOptions()
        options.quietAfterTicks = 0
        configure(&options)
        self.options = RaftOptions.Shared(options)
        let founding = Self.configuration(voters: count, learners: learners)
        let snapshot = SnapshotMetadata(index: LogIndex(1), term: Term(1), configuration: founding)
        machines[LogIndex(1)] = Machine(index: LogIndex(1), digest: 1, configuration: founding)
        for member in founding.members { boot(member.replica, snapshot: snapshot) }
    }

    static func configuration(voters: Int, learners: Int = 0) -> Configuration {
        let ids = (1...UInt64(voters + learners)).map(ReplicaID.init)
        return Configuration(
            members: ids.map { .init(replica: $0, node: NodeID($0.rawValue)) },
            voters: Array(ids.prefix(voters)),
            outgoingVoters: [], learners: Array(ids.dropFirst(voters)), nextLearners: [],
            leavesAutomatically: false,
            nextReplica: ReplicaID(UInt64(voters + learners) + 1))
    }

    // MARK: Life

    /// Starts a replica on an empty disk.
    func boot(
        _ replica: ReplicaID, snapshot: SnapshotMetadata? = nil, entries: [Entry] = [],
        commit: LogIndex? = nil
    ) {
        var disk = Disk()
        disk.snapshot = snapshot
        disk.base = snapshot.map { LogPosition(index: $0.index, term: $0.term) } ?? .zero
        disk.entries = entries
        let term = entries.last?.term ?? snapshot?.term ?? .zero
        disk.hardState = HardState(
            term: term, vote: nil, commit: commit ?? snapshot?.index ?? .zero)
        start(replica, disk: disk, boot: 0)
    }

    func crash(_ id: ReplicaID) {
        replicas[id]!.isUp = false
        replicas[id]!.writes = []
        replicas[id]!.applies = []
        replicas[id]!.reads = []
    }

    func restart(_ id: ReplicaID) {
        let old = replicas[id]!
        start(id, disk: old.disk, boot: old.bootCount + 1)
    }

    private func start(_ id: ReplicaID, disk: Disk, boot: Int) {
        var restored = RestoredReplica(
            hardState: disk.hardState, snapshot: disk.snapshot,
            outline: LogOutline(base: disk.base, entries: disk.entries), recoveringUntil: disk.recoveringUntil)
        if !restartsWithoutEntries { restored.entries = disk.entries }
        let raft = Raft(id, randomSeed: seed &+ UInt64(boot) &* 7919, options, restored: restored)
        let replica = Replica(raft, disk: disk, boot: boot)
        if let snapshot = disk.snapshot { replica.machine = machines[snapshot.index]! }
        replicas[id] = replica
    }

    var ids: [ReplicaID] { replicas.keys.sorted() }
    subscript(id: UInt64) -> Replica { replicas[ReplicaID(id)]! }

    // MARK: One step each

    /// Takes a replica's effects; nothing is on disk or applied by that.
    func collect(_ id: ReplicaID) {
        guard replicas[id]!.isUp, replicas[id]!.raft.hasEffects else { return }
        let effects = replicas[id]!.raft.takeEffects()
        post(effects.messages)
        if let persist = effects.persist { replicas[id]!.writes.append(persist) }
        if let snapshot = effects.restore { replicas[id]!.applies.append(.restore(snapshot)) }
        if !effects.committed.isEmpty { replicas[id]!.applies.append(.entries(effects.committed)) }
        replicas[id]!.reads += effects.reads
        replicas[id]!.readStates += effects.readStates
        replicas[id]!.failedReads += effects.failedReads
        check(id)
    }

    func post(_ messages: [Message]) {
        for message in messages { checkBallot(message) }
        sent += messages
        network += messages.filter { !isLost($0) }
    }

    /// Completes the oldest write.
    func persistOne(_ id: ReplicaID) {
        guard replicas[id]!.isUp, !replicas[id]!.writes.isEmpty else { return }
        let write = replicas[id]!.writes.removeFirst()
        replicas[id]!.disk.write(write)
        replicas[id]!.raft.persisted(write.receipt)
        post(write.messagesWhenDurable)
        if !replicas[id]!.raft.isRecovering { replicas[id]!.disk.recoveringUntil = nil }
        check(id)
    }

    /// Answers the oldest read from the disk as it is now.
    func readOne(_ id: ReplicaID) {
        guard replicas[id]!.isUp, !replicas[id]!.reads.isEmpty else { return }
        let read = replicas[id]!.reads.removeFirst()
        let entries = replicas[id]!.disk.read(from: read.first, bytesMax: read.bytesMax)
        if !replicas[id]!.raft.readCompleted(read, entries: entries) {
            fail("\(id) lacks entry \(read.first), which its log contains: \(replicas[id]!.summary)")
        }
        check(id)
    }

    func applyOne(_ id: ReplicaID) {
        guard replicas[id]!.isUp, !replicas[id]!.applies.isEmpty else { return }
        switch replicas[id]!.applies.removeFirst() {
        case .restore(let metadata):
            replicas[id]!.machine = machines[metadata.index]!
            replicas[id]!.raft.applied(through: metadata.index)
        case .entries(let entries):
            for entry in entries { apply(entry, on: id) }
            replicas[id]!.raft.applied(through: entries.last!.index)
            takeSnapshotIfDue(id)
        }
        check(id)
        checkConfiguration(id)
    }

    private func apply(_ entry: Entry, on id: ReplicaID) {
        if let known = history[entry.index], known != entry {
            failure = failure ?? "\(id) applied \(entry), others applied \(known)"
        }
        history[entry.index] = entry
        replicas[id]!.machine.apply(entry)
        if entry.kind == .configuration {
            replicas[id]!.machine.configuration = replicas[id]!.raft.applyConfiguration(
                decode(entry.payload))
        }
        let machine = replicas[id]!.machine
        if let known = machines[entry.index], known != machine {
            failure = failure ?? "\(id) differs at \(entry.index)"
        }
        machines[entry.index] = machine
    }

    func takeSnapshot(_ id: ReplicaID, keeping kept: Int = 0) {
        let machine = replicas[id]!.machine
        guard let entry = history[machine.index] else { return }
        let metadata = SnapshotMetadata(
            index: machine.index, term: entry.term, configuration: machine.configuration)
        // The disk gets the snapshot behind the writes that are under way; waiting for them keeps this simple.
        guard replicas[id]!.writes.isEmpty, !replicas[id]!.raft.hasUnwrittenEntries else { return }
        replicas[id]!.raft.snapshotTaken(metadata, keepingEntriesBehind: kept)
        replicas[id]!.disk.install(metadata, keepingFrom: replicas[id]!.firstIndex)
    }

    private func takeSnapshotIfDue(_ id: ReplicaID) {
        guard let every = snapshotEvery, let snapshot = replicas[id]!.raft.snapshot else { return }
        if snapshot.index < replicas[id]!.machine.index,
            snapshot.index.distance(to: replicas[id]!.machine.index) >= every
        {
            takeSnapshot(id, keeping: every / 2)
        }
    }

    func deliver(_ message: Message) {
        guard let replica = replicas[message.to], replica.isUp else { return }
        replica.raft.step(message)
        check(message.to)
    }

    // MARK: Many steps

    /// Until nothing moves any more: every write completes, everything is applied and delivered in order.
    func settle() {
        for _ in 0..<10_000 {
            var moved = false
            for id in ids where replicas[id]!.isUp {
                if replicas[id]!.raft.hasEffects {
                    collect(id)
                    moved = true
                }
                while !replicas[id]!.writes.isEmpty {
                    persistOne(id)
                    moved = true
                }
                while !replicas[id]!.applies.isEmpty {
                    applyOne(id)
                    moved = true
                }
                while !replicas[id]!.reads.isEmpty {
                    readOne(id)
                    moved = true
                }
            }
            let batch = network
            network = []
            for message in batch {
                deliver(message)
                moved = true
            }
            if !moved { return }
        }
        failure = failure ?? "the cluster does not come to rest"
    }

    /// The others come to rest while one stands still.
    func settleAll(except still: ReplicaID) {
        replicas[still]!.isUp = false
        settle()
        replicas[still]!.isUp = true
    }

    func tickAll(_ count: Int = 1) {
        for _ in 0..<count {
            for id in ids where replicas[id]!.isUp { replicas[id]!.raft.tick() }
            settle()
        }
    }

    func elect(_ id: UInt64) {
        for other in ids where replicas[other]!.isUp { replicas[other]!.raft.forgetLeader() }
        self[id].raft.campaign()
        settle()
    }

    func isolate(_ isolated: Set<UInt64>) {
        isLost = { isolated.contains($0.from.rawValue) != isolated.contains($0.to.rawValue) }
        let isLost = self.isLost
        network.removeAll(where: isLost)
    }

    func heal() { isLost = { _ in false } }

    // MARK: Commands

    @discardableResult
    func propose(_ id: UInt64, _ text: String) -> ProposalOutcome {
        self[id].raft.propose([Array(text.utf8)])
    }

    @discardableResult
    func change(_ id: UInt64, _ change: ConfigurationChange) -> ProposalOutcome {
        self[id].raft.proposeChange(change, encoded: encode(change))
    }

    func encode(_ change: ConfigurationChange) -> [UInt8] {
        if change.operations.isEmpty { return [] }
        changes.append(change)
        return [
            UInt8(truncatingIfNeeded: changes.count - 1),
            UInt8(truncatingIfNeeded: (changes.count - 1) >> 8),
        ]
    }

    func decode(_ payload: [UInt8]) -> ConfigurationChange? {
        if payload.isEmpty { return ConfigurationChange([]) }
        return changes[Int(payload[0]) | Int(payload[1]) << 8]
    }

    /// The texts that a replica has applied, snapshots included.
    func texts(_ id: UInt64) -> [String] {
        let end = replicas[ReplicaID(id)]!.machine.index
        return history.keys.sorted().filter { $0 <= end && history[$0]!.kind == .command }.map {
            String(decoding: history[$0]!.payload, as: UTF8.self)
        }
    }

    func entry(_ id: UInt64, _ index: UInt64) -> Entry? { self[id].entry(at: LogIndex(index)) }
}

extension Raft {
    var hasUnwrittenEntries: Bool { log.written < log.lastIndex }
}

func index(_ value: UInt64) -> LogIndex { LogIndex(value) }
func replica(_ value: UInt64) -> ReplicaID { ReplicaID(value) }
