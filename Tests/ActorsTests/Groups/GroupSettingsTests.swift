import FlotillaRaft
import Testing

@testable import FlotillaActors

@Suite struct GroupSettingsTests {
    @Test("CE-08, RM-17: the defaults are the documented ones")
    func defaults() {
        let settings = GroupSettings()
        #expect(settings.tickInterval == .milliseconds(100) && settings.electionTicks == 10)
        #expect(settings.failureTimeout == .milliseconds(300))
        #expect(settings.snapshotThreshold == 10_000 && settings.entriesKeptBehindSnapshot == 1_000)
        #expect(settings.snapshotEmbedLimit == 1 << 20 && settings.snapshotFiles.chunkBytes == 1 << 20)
        #expect(settings.snapshotFiles.pieceBytes == 64 << 10 && settings.snapshotBytesPerSecond == 8 << 20)
        let options = settings.raftOptions
        #expect(options.electionTicks == 10 && options.heartbeatTicks == 1)
    }

    @Test(
        "CE-08: a follower that hears nothing campaigns after a random time in [T, 2T), and every time of it comes up")
    func electionTimeout() {
        for (settings, expected) in [
            (GroupSettings(), (1_000, 2_000)), (GroupSettings.fastElections, (150, 300)),
        ] {
            let tick = Int(settings.tickInterval / .milliseconds(1))
            var seen: Set<Int> = []
            for seed in 1...400 as ClosedRange<UInt64> {
                seen.insert(Self.ticksUntilCampaign(settings, seed: seed) * tick)
            }
            #expect(seen == Set(stride(from: expected.0, to: expected.1, by: tick)), "a tick of \(tick) ms")
        }
    }

    /// Of one of three voters, whom nobody talks to.
    private static func ticksUntilCampaign(_ settings: GroupSettings, seed: UInt64) -> Int {
        let members = (1...3).map { Configuration.Member(replica: ReplicaID($0), node: NodeID($0)) }
        let configuration = Configuration(
            members: members, voters: members.map(\.replica), outgoingVoters: [], learners: [], nextLearners: [],
            leavesAutomatically: false, nextReplica: ReplicaID(4))
        var raft = Raft(
            ReplicaID(1), randomSeed: seed, RaftOptions.Shared(settings.raftOptions),
            restored: RestoredReplica(
                hardState: HardState(term: Term(1), vote: nil, commit: LogIndex(1)),
                snapshot: SnapshotMetadata(index: LogIndex(1), term: Term(1), configuration: configuration)))
        for ticks in 1...100 {
            raft.tick(1)
            if raft.status.role != .follower { return ticks }
        }
        return 0
    }
}
