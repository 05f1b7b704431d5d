import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What the management leader's node does for the fleet beside its part in the groups.

extension NodeServices {
    /// How often the management leader looks at its voters: so much later than it could a lost one is replaced.
    static let voterCheckInterval: Duration = .milliseconds(250)

    /// Replaces voters of the management group that are lost, and has as many as the policy wants. Acts on the
    /// management leader alone.
    func keepVoters() async {
        guard let group = try? await managementGroup, let changes = try? await group.leaderChanges() else { return }
        for await change in changes where change.isLocal {
            while !Task.isCancelled, await checkVoters(group) {
                let next = core.loop.now.advanced(by: Self.voterCheckInterval)
                do { try await core.loop.sleep(until: next) } catch { return }
            }
        }
    }

    /// - Returns: whether this node leads the group.
    private func checkVoters(_ group: RaftGroup) async -> Bool {
        do {
            guard let caughtUp = try await group.caughtUpNodes() else { return false }
            let state = machines.management.withLock { $0 }
            let voters = ManagementVoters(
                state: state, observation: await observe(state), caughtUp: caughtUp, leader: core.node)
            let changes = voters.changes
            guard !changes.isEmpty else { return true }
            logger.info("the voters of the management group change", ["changes": "\(changes)"])
            let answer = try await group.propose(changes.map(\.encoded), ownerEpoch: 0)
            if let refusal = ManagementStateMachine.Refusal(rawValue: answer.code) {
                // The state has changed meanwhile; the next look is at the new one.
                logger.info("the voters stay as they are", ["reason": "\(refusal)"])
            }
            return true
        } catch let error as GroupError where error.code == .stopped {
            return false
        } catch is CancellationError {
            return false
        } catch {
            logger.warning("could not change the voters of the management group", ["error": "\(error)"])
            return true
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
}
