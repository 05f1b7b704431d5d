import FlotillaIO
import FlotillaRaft

/// Measures on a leader how long entries take from the log's way to the disk until a majority has them. It follows one
/// entry at a time, so it costs a comparison per pass and stands for all of them.
struct QuorumTimer {
    private var followed: (index: LogIndex, term: Term, since: MonotonicTime)?
    /// How many entries were followed to their end.
    private(set) var rounds: UInt64 = 0
    /// What they took in all.
    private(set) var total: Duration = .zero

    /// Called after each step of the core.
    mutating func observe(isLeader: Bool, term: Term, last: LogIndex, commit: LogIndex, _ loop: any Loop) {
        if let entry = followed {
            if isLeader, term == entry.term {
                guard commit >= entry.index else { return }
                rounds += 1
                total += entry.since.duration(to: loop.now)
            }
            followed = nil
        }
        if isLeader, last > commit { followed = (last, term, loop.now) }
    }
}
