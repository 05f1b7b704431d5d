import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Where this node sends new runs, by a view of the fleet that is a second old at most. It also sees to it that many starts
/// that find no room ask for one cluster, and not for one each.
final class PlacementView: Sendable {
    /// In the fleet's state: what this node itself has sent is counted at once.
    static let age: Duration = .seconds(1)

    private struct State {
        var placement: Placement?
        var takenAt = MonotonicTime(nanoseconds: 0)
        /// The cluster that is being made, for those who wait for it.
        var creation: Waitable<Void>?
    }

    private let state = Lock(State())
    private let machines: NodeMachines
    private let core: NodeCore

    init(core: NodeCore, machines: NodeMachines) {
        self.core = core
        self.machines = machines
    }

    /// - Parameter isFresh: by what is known now: a choice has just turned out to be wrong.
    func choose(_ request: Placement.Request, isFresh: Bool) -> Placement.Decision {
        let now = core.loop.now
        return state.withLock { state in
            var placement =
                state.placement ?? Placement(machines.management.withLock { $0 }, origin: core.node)
            if isFresh || state.placement == nil || state.takenAt.duration(to: now) >= Self.age {
                let view = machines.management.withLock { $0 }
                placement.refresh(view)
                state.takenAt = now
            }
            defer { state.placement = placement }
            return placement.choose(request)
        }
    }

    /// Runs `create`, or waits for whoever does already, and fails as that does. Whoever waited for one that was given up
    /// looks again, as after a success: there may be no cluster yet.
    func creating(_ create: () async throws -> Void) async throws {
        let (creation, isMine) = state.withLock { state in
            if let creation = state.creation { return (creation, false) }
            let creation = Waitable<Void>()
            state.creation = creation
            return (creation, true)
        }
        guard isMine else { return try await creation.value() }
        let result: Result<Void, any Error>
        do {
            result = .success(try await create())
        } catch {
            result = .failure(error)
        }
        state.withLock { state in
            state.creation = nil
            state.placement = nil
        }
        switch result {
        case .success: creation.succeed(())
        case .failure(is CancellationError): creation.succeed(())
        case .failure(let error): creation.fail(error)
        }
        try result.get()
    }
}
