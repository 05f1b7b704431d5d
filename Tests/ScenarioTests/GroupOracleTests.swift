import FlotillaActors
import FlotillaRaft
import Testing

@testable import FlotillaScenarios

@Suite struct GroupOracleTests {
    private func replica(_ number: UInt64) -> ReplicaIdentity {
        ReplicaIdentity(group: GroupID(7), incarnation: 1, kind: .benchmark, replica: ReplicaID(number))
    }

    /// The core of a replica that has seen a term, and committed entries of terms.
    private func core(_ number: UInt64, term: UInt64, entries: [UInt64] = [], commit: UInt64 = 0) -> Raft {
        let log = entries.enumerated().map { place, term in
            Entry(index: LogIndex(UInt64(place) + 1), term: Term(term), kind: .empty, payload: [])
        }
        return Raft(
            ReplicaID(number), randomSeed: 1, RaftOptions.Shared(RaftOptions()),
            restored: RestoredReplica(
                hardState: HardState(term: Term(term), commit: LogIndex(commit)), snapshot: nil, entries: log,
                recoveringUntil: nil))
    }

    private func committed(_ index: UInt64, term: UInt64, _ payload: String) -> Effects {
        var effects = Effects()
        effects.committed = [
            Entry(index: LogIndex(index), term: Term(term), kind: .command, payload: Array(payload.utf8))
        ]
        return effects
    }

    private func leads(_ term: UInt64) -> Effects {
        var effects = Effects()
        effects.statusChange = Status(role: .leader, term: Term(term), leader: nil)
        return effects
    }

    @Test("replicas that commit the same, one later than the other, are all right")
    func agreement() throws {
        let oracle = GroupOracle()
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3), into: committed(1, term: 2, "a"))
        oracle.replica(replica(2), boot: 1, stepped: core(2, term: 4), into: committed(1, term: 2, "a"))
        // After a restart it hands out the same again.
        oracle.replica(replica(1), boot: 2, stepped: core(1, term: 3), into: committed(1, term: 2, "a"))
        try oracle.check()
    }

    @Test("a committed entry that is another command, or of another term, elsewhere is found")
    func committedChanges() {
        for effects in [committed(1, term: 2, "b"), committed(1, term: 3, "a")] {
            let oracle = GroupOracle()
            oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3), into: committed(1, term: 2, "a"))
            oracle.replica(replica(2), boot: 1, stepped: core(2, term: 3), into: effects)
            #expect(throws: ScenarioFailure.self) { try oracle.check() }
        }
    }

    @Test("two leaders of one term are found, one that is elected again in another term is none")
    func twoLeaders() {
        let oracle = GroupOracle()
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 2), into: leads(2))
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3), into: leads(3))
        #expect(oracle.failure == nil)
        oracle.replica(replica(2), boot: 1, stepped: core(2, term: 3), into: leads(3))
        #expect(oracle.failure?.description.contains("both lead in term 3") == true)
    }

    @Test("a leader without an entry that was committed in an earlier term is found")
    func leaderCompleteness() {
        let oracle = GroupOracle()
        oracle.replica(
            replica(1), boot: 1, stepped: core(1, term: 2, entries: [2], commit: 1), into: committed(1, term: 2, ""))
        oracle.replica(replica(2), boot: 1, stepped: core(2, term: 3, entries: [2]), into: leads(3))
        #expect(oracle.failure == nil)
        oracle.replica(replica(3), boot: 1, stepped: core(3, term: 4), into: leads(4))
        #expect(oracle.failure?.description.contains("leads in term 4 without entry 1") == true)
    }

    @Test("a term or a commit index that falls within one life is found; a new life may begin lower")
    func monotonic() {
        let oracle = GroupOracle()
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3, entries: [1, 1], commit: 2), into: Effects())
        oracle.replica(replica(1), boot: 2, stepped: core(1, term: 3, entries: [1, 1], commit: 1), into: Effects())
        #expect(oracle.failure == nil)
        oracle.replica(replica(1), boot: 2, stepped: core(1, term: 2), into: Effects())
        #expect(oracle.failure?.description.contains("fell from 3 to 2") == true)
    }

    @Test("a gap between committed entries of one life is found")
    func gap() {
        let oracle = GroupOracle()
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3), into: committed(1, term: 2, "a"))
        oracle.replica(replica(1), boot: 1, stepped: core(1, term: 3), into: committed(3, term: 2, "a"))
        #expect(oracle.failure?.description.contains("entry 3 after 1") == true)
    }

    @Test("states that differ at one index are found")
    func states() {
        let oracle = GroupOracle()
        oracle.replica(of: GroupID(7), reached: 11, at: LogIndex(5))
        oracle.replica(of: GroupID(8), reached: 12, at: LogIndex(5))
        oracle.replica(of: GroupID(7), reached: 11, at: LogIndex(5))
        #expect(oracle.failure == nil)
        oracle.replica(of: GroupID(7), reached: 12, at: LogIndex(5))
        #expect(oracle.failure?.description.contains("index 5") == true)
    }
}
