import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Glibc

/// Raft groups of ours on three node processes. One group is worked by callers in its leader's process; of several each
/// node works those that it leads.
struct FlotillaContestant: Contestant {
    var isSynced = true
    var reads = ReadConsistency.quorum
    /// For one group.
    var callers = CallerPlace.leader

    /// Where the callers are.
    enum CallerPlace: String, CaseIterable, Sendable {
        /// In the leader's process.
        case leader
        /// In a process of their own, which has one connection.
        case process
        /// In a process of their own, over HTTP with JSON.
        case http
    }

    var name: String {
        switch callers {
        case .leader: break
        case .process: return "flotilla-client"
        case .http: return "flotilla-http"
        }
        return !isSynced ? "flotilla-unsynced" : reads == .lease ? "flotilla-lease" : Report.ours
    }

    var conditions: String {
        "3 node processes, "
            + (isSynced
                ? "fsync on a majority before the answer" : "answers before any fsync: what it wrote may be lost")
            + (reads == .lease ? ", reads by the leader's lease, which trusts the members' clocks" : "")
            + callersCondition
    }

    private var callersCondition: String {
        switch callers {
        case .leader: ", callers are tasks in the process of a group's leader"
        case .process: ", callers are tasks in a process of their own, over one connection to the leader"
        case .http: ", callers are in a Go process of their own, over HTTP with JSON, one connection to the leader each"
        }
    }

    /// What makes the load over HTTP.
    static let httpLoad = "\(Peer.folder)/http-load"

    var obstacle: String? {
        guard callers == .http, access(Self.httpLoad, X_OK) != 0 else { return nil }
        return "\(Self.httpLoad) is missing; Benchmarks/Peers/setup builds it"
    }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        let fleet = try GroupsFleet(
            .benchmark, directory: directory, isSynced: isSynced, reads: reads, fsyncDelay: load.fsyncDelay)
        do {
            try await fleet.waitUntilUp()
            try await fleet.found(load.groups, leader: load.groups == 1 ? 1 : nil)
            try await fleet.waitUntilQuiet(load.groups)
            let sample =
                callers == .leader
                ? try await measure(load, fleet) : try await measure(load, fleet, log: "\(directory)/client.log")
            await fleet.killAll()
            return sample
        } catch {
            await fleet.killAll()
            throw error
        }
    }

    private func measure(_ load: GroupLoad, _ fleet: GroupsFleet) async throws -> LoadSample {
        async let result = fleet.load(load)
        try await Task.sleep(for: load.warmup)
        let before = ProcessTreeUsage.now(fleet.processes)
        try await Task.sleep(for: load.length)
        let after = ProcessTreeUsage.now(fleet.processes)
        return LoadSample(result: try await result, usage: after.since(before))
    }

    private func measure(_ load: GroupLoad, _ fleet: GroupsFleet, log: String) async throws -> LoadSample {
        let client = try await fleet.startClient(load, callers, log: log)
        do {
            let roots = fleet.processes + [client.pid]
            try await Task.sleep(for: load.warmup)
            let before = ProcessTreeUsage.now(roots)
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(roots)
            let end = await client.wait(limit: .seconds(60))
            try Task.checkCancellation()
            guard end == .exited(0), let result = LoadResult(endOf: log) else {
                throw BenchError("the client gave no result: \((try? readText(log)) ?? "")")
            }
            return LoadSample(result: result, usage: after.since(before))
        } catch {
            client.send(signal: SIGKILL)
            await client.wait(limit: .seconds(10))
            throw error
        }
    }
}
