import FlotillaIO

/// One Raft group of ours on three node processes, with callers in the leader's.
struct FlotillaContestant: Contestant {
    let name = "flotilla"
    let conditions =
        "one group on 3 node processes, fsync on a majority before the answer, callers are tasks in the leader's process"
    var obstacle: String? { nil }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        let fleet = try GroupsFleet(.benchmark, directory: directory)
        do {
            try await fleet.waitUntilUp()
            try await fleet.found(1, leader: 1)
            try await fleet.waitUntilQuiet(1)
            async let result = fleet.load(1, load)
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
