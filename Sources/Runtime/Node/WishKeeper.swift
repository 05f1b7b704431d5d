import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Leaders that wait for management's wish before they add a member, and the terms that they lead in.
struct WishQuestions: Sendable {
    private let asked = Lock<[GroupID: Term]>([:])
    let bell = Signal()

    /// Any thread.
    func add(_ group: GroupID, _ term: Term) {
        asked.withLock { $0[group] = max($0[group] ?? term, term) }
        bell.ring()
    }

    func take() -> [(group: GroupID, term: Term)] {
        asked.withLock { asked in
            defer { asked = [:] }
            return asked.sorted { $0.key < $1.key }.map { (group: $0.key, term: $0.value) }
        }
    }
}

/// Learns for the leaders on this node whom management wants now: one read of the management group for all that ask.
struct WishKeeper: Sendable {
    let core: NodeCore
    let questions: WishQuestions
    let logger: FlotillaLogger

    static let retryInterval: Duration = .milliseconds(500)

    /// Until the task is cancelled or the node ends.
    func run() async {
        for await _ in questions.bell.rings {
            let asked = questions.take()
            guard !asked.isEmpty else { continue }
            do {
                try await core.hosted.group(ManagementState.group).barrier()
                for (group, term) in asked { core.confirmWish(of: group, in: term) }
            } catch {
                logger.debug("management does not say whom it wants; trying again", ["error": "\(error)"])
                for (group, term) in asked { questions.add(group, term) }
                do { try await core.loop.sleep(for: Self.retryInterval) } catch { return }
            }
        }
    }
}
