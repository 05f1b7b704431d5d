@testable import FlotillaRaft

extension Cluster {
    /// A replica with its disk and what is on its way to it. The core cannot be copied, so tests refer to this.
    final class Replica {
        var raft: Raft
        var disk: Disk
        /// Handed out and not on disk yet, oldest first.
        var writes: [Persist] = []
        /// Handed out and not applied yet.
        var applies: [Apply] = []
        /// Asked for and not answered yet.
        var reads: [LogRead] = []
        var machine = Machine()
        var readStates: [ReadState] = []
        var failedReads: [UInt64] = []
        var isUp = true
        let bootCount: Int

        init(_ raft: consuming Raft, disk: Disk, boot: Int) {
            self.raft = raft
            self.disk = disk
            bootCount = boot
        }
    }
}

/// What tests ask a replica's core. `#expect` takes its expression apart, which needs values that can be
/// copied.
extension Cluster.Replica {
    var status: Status { raft.status }
    var term: Term { raft.term }
    var role: Raft.Role { raft.role }
    var leader: ReplicaID? { raft.leader }
    var votes: [Raft.Vote] { raft.votes }
    var log: RaftLog { raft.log }
    var configuration: Configuration { raft.configuration }
    var progress: ContiguousArray<Progress> { raft.progress }
    var hardState: HardState { raft.hardState }
    var snapshot: SnapshotMetadata? { raft.snapshot }
    var firstIndex: LogIndex { raft.firstIndex }
    var lastIndex: LogIndex { raft.lastIndex }
    var commitIndex: LogIndex { raft.commitIndex }
    var appliedIndex: LogIndex { raft.appliedIndex }
    var durableIndex: LogIndex { raft.durableIndex }
    var uncommittedBytes: Int { raft.uncommittedBytes }
    var electionElapsed: Int { raft.electionElapsed }
    var isQuiet: Bool { raft.isQuiet }
    var hasLease: Bool { raft.hasLease }
    var isRecovering: Bool { raft.isRecovering }
    var hasEffects: Bool { raft.hasEffects }
    var summary: String { raft.summary }
    /// An entry of its log, wherever it is.
    func entry(at index: LogIndex) -> Entry? {
        let log = raft.log
        guard index > log.offset, index <= log.lastIndex else { return nil }
        return log.entry(at: index) ?? disk.entries.first { $0.index == index }
    }
    func complete(_ read: LogRead, _ entries: [Entry]) -> Bool { raft.readCompleted(read, entries: entries) }
    func isVoter(_ replica: ReplicaID) -> Bool { raft.isVoter(replica) }
    func progress(of replica: ReplicaID) -> MemberProgress? { raft.progress(of: replica) }
    func term(at index: LogIndex) -> Term? { raft.term(at: index) }
}
