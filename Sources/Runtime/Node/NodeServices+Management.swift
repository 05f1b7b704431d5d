import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What the management leader's node does for the fleet beside its part in the groups.

extension NodeServices {
    /// Calls `step` every `interval` while this node leads the management group, and waits otherwise.
    /// - Parameter step: gets what the group's leader knows of its members. What it throws is logged.
    func whileManaging(
        every interval: Duration, _ what: String, _ step: @Sendable (GroupMembership) async throws -> Void
    ) async {
        guard let group = try? await managementGroup, let changes = try? await group.leaderChanges() else { return }
        for await change in changes where change.isLocal {
            while let membership = try? await group.membership(), membership.isLeader {
                do {
                    try await step(membership)
                } catch let error where !Task.isCancelled {
                    logger.warning("could not \(what); trying again", ["error": "\(error)"])
                } catch {
                    return
                }
                do { try await core.loop.sleep(for: interval) } catch { return }
            }
        }
    }

    /// What this node sees of the fleet.
    func observe(_ state: ManagementState) async -> FleetObservation {
        let core = core
        return await core.onLoop {
            var observation = FleetObservation(now: core.loop.wallNow.nanoseconds)
            for node in state.nodes.keys where node != core.node {
                observation.silence[node] = core.silence(of: node)?.clampedNanoseconds
            }
            return observation
        }
    }

    // MARK: Voters

    /// How often the management leader looks at its voters: so much later than it could a lost one is replaced.
    static let voterCheckInterval: Duration = .milliseconds(250)

    /// Replaces voters of the management group that are lost, and has as many as the policy wants.
    func keepVoters() async {
        await whileManaging(every: Self.voterCheckInterval, "change the voters of the management group") { members in
            let state = self.machines.management.withLock { $0 }
            let voters = ManagementVoters(
                state: state, observation: await self.observe(state), caughtUp: Set(members.caughtUp),
                leader: self.core.node)
            let changes = voters.changes
            guard !changes.isEmpty else { return }
            self.logger.info("the voters of the management group change", ["changes": "\(changes)"])
            try await self.manage(changes)
        }
    }
}
