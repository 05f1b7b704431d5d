import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Raft groups of ours on three node processes. One group is worked by callers in its leader's process; of several each
/// node works those that it leads.
struct FlotillaContestant: Contestant {
    var isSynced = true
    var reads = ReadConsistency.quorum

    var name: String {
        switch (isSynced, reads) {
        case (false, _): "flotilla-unsynced"
        case (true, .quorum): Report.ours
        case (true, .lease): "flotilla-lease"
        }
    }

    var conditions: String {
        "3 node processes, "
            + (isSynced
                ? "fsync on a majority before the answer" : "answers before any fsync: what it wrote may be lost")
            + (reads == .lease ? ", reads by the leader's lease, which trusts the members' clocks" : "")
            + ", callers are tasks in the process of a group's leader"
    }

    var obstacle: String? { nil }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        let fleet = try GroupsFleet(
            .benchmark, directory: directory, isSynced: isSynced, reads: reads, fsyncDelay: load.fsyncDelay)
        do {
            try await fleet.waitUntilUp()
            try await fleet.found(load.groups, leader: load.groups == 1 ? 1 : nil)
            try await fleet.waitUntilQuiet(load.groups)
            async let result = fleet.load(load)
            try await Task.sleep(for: load.warmup)
            let before = ProcessTreeUsage.now(fleet.processes)
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(fleet.processes)
            let sample = LoadSample(result: try await result, usage: after.since(before))
            await fleet.killAll()
            return sample
        } catch {
            await fleet.killAll()
            throw error
        }
    }
}
