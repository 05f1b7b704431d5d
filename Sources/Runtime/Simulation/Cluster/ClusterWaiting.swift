import Flotilla
import FlotillaIO

// What lets virtual time pass.

extension SimulatedCluster {
    /// Lets `duration` of virtual time pass, with everything that happens in it.
    public func advance(by duration: Duration) async {
        // Thrown only when the simulation is ending, which the caller's next step will find out.
        try? await world.sleep(for: duration)
    }

    /// Lets the calendar of all machines go ahead by `duration`, however long, in a few seconds of virtual time: durable
    /// sleeps, time limits, schedules and retention become due. Nothing else happens meanwhile, no heartbeat and no
    /// timer of a step's own; who has not begun to wait yet waits from then on. `advance` lives through every second.
    public func skip(_ duration: Duration) async {
        for number in nodes { jumpWallClock(of: number, by: duration) }
        skipped += duration
        // Who waits for a moment looks at the wall clock this often.
        await advance(by: Self.wallClockCheckInterval * 2)
    }

    /// Lets time pass until `condition` holds, looking every 50 ms of virtual time.
    /// - Parameter what: names the condition in the error.
    /// - Throws: `SimulationError` (`conditionNotMet`) after `limit`, with what each node says of itself; whatever the
    ///   condition throws.
    public func wait(
        until what: String, within limit: Duration = .seconds(60), _ condition: () async throws -> Bool
    ) async throws {
        let deadline = world.now.advanced(by: limit)
        while try await !condition() {
            guard world.now < deadline else {
                throw world.error(.conditionNotMet, "not within \(limit): \(what)\n\(await description())")
            }
            try await world.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until all nodes run, are ready, and each group has as many voters as it can, an odd number, with no change of
    /// them under way: in the management group as the policy has it, in others at most five.
    public func untilFormed(within limit: Duration = .seconds(60)) async throws {
        let count = nodes.count
        try await wait(until: "a fleet of \(count) nodes with as many voters as its groups can have", within: limit) {
            for number in nodes {
                guard let node = try? node(number), let status = try? await node.status(), status.ready,
                    try await node.isFormed(of: count)
                else { return false }
            }
            return true
        }
    }

    /// What each node says of itself, for the message of a failure.
    private func description() async -> String {
        var lines: [String] = []
        for number in nodes {
            do {
                let status = try await node(number).status()
                let groups = status.groups.map { group in
                    "\(group.kind) replica \(group.replica) \(group.role) term \(group.term) leader "
                        + "\(group.leader.map(String.init) ?? "unknown") applied \(group.appliedIndex) of "
                        + "\(group.commitIndex) of \(group.lastIndex), voters \(group.voters), outgoing \(group.outgoingVoters), "
                        + "learners \(group.learners), quiet \(group.quiet)"
                }
                lines.append("node \(number), ready \(status.ready): \(groups) \(status.warnings)")
            } catch let error as SimulationError {
                lines.append(error.message)
            } catch {
                lines.append("node \(number): \(error)")
            }
        }
        return lines.joined(separator: "\n")
    }
}
