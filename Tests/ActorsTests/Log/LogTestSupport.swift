import FlotillaIO
import FlotillaRaft
import Glibc

@testable import FlotillaActors

/// A directory that goes with its scope.
func withTemporaryDirectory<R>(in parent: String = "/tmp", _ body: (String) throws -> R) throws -> R {
    var template = Array("\(parent)/flotilla-log-XXXXXX".utf8CString)
    guard let path = mkdtemp(&template).map({ String(cString: $0) }) else {
        throw FileError(operation: "mkdtemp", path: parent, errno: errno)
    }
    defer { removeTree(path) }
    return try body(path)
}

func removeTree(_ path: String) {
    for name in (try? PosixFileSystem().list(path)) ?? [] { removeTree("\(path)/\(name)") }
    remove(path)
}

let sampleIdentity = NodeIdentity(cluster: 0xC1, node: NodeID(7), instance: 0xABCD_EF01_2345_6789)

func sampleReplica(_ group: UInt64, incarnation: UInt64 = 1, replica: UInt64 = 1) -> ReplicaIdentity {
    ReplicaIdentity(
        group: GroupID(group), incarnation: incarnation, kind: .benchmark,
        replica: ReplicaID(replica))
}

func sampleEntry(
    _ index: UInt64, term: UInt64 = 1, _ text: String = "x", kind: Entry.Kind = .command
) -> Entry {
    Entry(index: LogIndex(index), term: Term(term), kind: kind, payload: Array(text.utf8))
}

func sampleEntries(_ indexes: ClosedRange<UInt64>, term: UInt64 = 1, _ text: String = "entry")
    -> [Entry]
{
    indexes.map { sampleEntry($0, term: term, "\(text) \($0)") }
}

let sampleConfiguration = Configuration(
    members: [
        .init(replica: ReplicaID(1), node: NodeID(7)),
        .init(replica: ReplicaID(2), node: NodeID(8)),
        .init(replica: ReplicaID(4), node: NodeID(9)),
    ],
    voters: [ReplicaID(1), ReplicaID(2)], outgoingVoters: [ReplicaID(1), ReplicaID(4)],
    learners: [],
    nextLearners: [ReplicaID(4)], leavesAutomatically: true, nextReplica: ReplicaID(5))

func sampleSnapshot(_ index: UInt64, term: UInt64 = 1) -> SnapshotMetadata {
    SnapshotMetadata(index: LogIndex(index), term: Term(term), configuration: sampleConfiguration)
}

extension LogBatch {
    init(_ writes: Write...) {
        self.init()
        self.writes = writes
    }
}

extension LogBatch.Write {
    /// A write of a sample replica.
    static func of(
        _ group: UInt64, incarnation: UInt64 = 1, create: UInt64? = nil,
        hardState: HardState? = nil,
        _ entries: [Entry] = [], snapshot: SnapshotMetadata? = nil, keptFrom: LogIndex? = nil, isRemoved: Bool = false
    ) -> LogBatch.Write {
        LogBatch.Write(
            group: GroupID(group), incarnation: incarnation,
            created: create.map { sampleReplica(group, incarnation: incarnation, replica: $0) },
            hardState: hardState, entries: entries, snapshot: snapshot, keptFrom: keptFrom, isRemoved: isRemoved)
    }
}

/// What a store holds, in a form that can be compared.
struct Holdings: Hashable, CustomStringConvertible {
    struct Group: Hashable {
        var replica: ReplicaIdentity
        var hardState: HardState
        var snapshot: SnapshotMetadata?
        var entries: [Entry]
        var recoveringUntil: LogIndex?
    }
    var groups: [Group]
    var removed: [ReplicaIdentity]

    init(groups: [Group], removed: [ReplicaIdentity]) {
        self.groups = groups
        self.removed = removed
    }

    init(_ log: StoredLog) {
        groups = log.groups.map {
            Group(
                replica: $0.replica, hardState: $0.hardState, snapshot: $0.snapshot,
                entries: $0.entries,
                recoveringUntil: $0.recoveringUntil)
        }
        removed = log.removedReplicas
    }

    var description: String {
        groups.map { group in
            "\(group.replica.key): \(group.hardState), snapshot \(group.snapshot?.index.rawValue ?? 0), entries "
                + group.entries.map { "\($0.index)@\($0.term)" }.joined(separator: " ")
                + (group.recoveringUntil.map { ", recovering until \($0)" } ?? "")
        }.joined(separator: "\n") + "\nremoved: \(removed)"
    }
}

/// All that a store holds, with the entries.
struct StoredLog {
    struct Group {
        var replica: ReplicaIdentity
        var hardState: HardState
        var snapshot: SnapshotMetadata?
        var outline: LogOutline
        var entries: [Entry]
        var recoveringUntil: LogIndex?
    }
    var identity: NodeIdentity?
    var bootCounter: UInt64
    var groups: [Group]
    var removedReplicas: [ReplicaIdentity]
    var tornBytes: UInt64
    var damages: [LogDamage]
    var keptFiles: [String]

    /// - Parameter store: an open one, of which `log` is known.
    init(_ log: RecoveredLog, in store: any LogStore, pageBytes: Int = 1 << 20) throws(LogError) {
        identity = log.identity
        bootCounter = log.bootCounter
        removedReplicas = log.removedReplicas
        tornBytes = log.tornBytes
        damages = log.damages
        keptFiles = log.keptFiles
        groups = []
        for group in log.groups {
            var entries: [Entry] = []
            while entries.count < group.outline.count {
                let next = group.outline.base.index + (entries.count + 1)
                let page = try store.read(
                    group.replica.group, incarnation: group.replica.incarnation, from: next, bytesMax: pageBytes)
                guard page.first?.index == next else { throw LogError(.missing, "entry \(next) of \(group.replica)") }
                entries += page
            }
            groups.append(
                Group(
                    replica: group.replica, hardState: group.hardState, snapshot: group.snapshot,
                    outline: group.outline, entries: entries, recoveringUntil: group.recoveringUntil))
        }
    }
}

extension LogStore {
    /// Opens the store and reads every entry that it holds.
    func openAndRead() throws(LogError) -> StoredLog { try StoredLog(try open(), in: self) }
}

/// A deterministic generator (SplitMix64, Steele et al. 2014).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
