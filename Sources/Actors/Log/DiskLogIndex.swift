import FlotillaIO
import FlotillaRaft

/// What a log on disk holds, and where. The log's one writer changes it; readers look at it beside a write, so it is
/// never held during a call on a file.
final class DiskLogIndex: Sendable {
    struct Contents {
        var table = LogTable()
        /// Ascending; the last one is written to. A segment's `end` moves when a batch is durable, while the table
        /// knows the batch before: what lies behind the end is not there yet.
        var segments: [LogSegment] = []
    }

    private let contents = Lock(Contents())

    func withContents<R>(_ body: (inout Contents) throws -> R) rethrows -> R { try contents.withLock(body) }

    /// Where to look for an entry and those behind it.
    struct Place: Equatable {
        var segment: LogSegment
        /// Whether batches are still added to the segment.
        var isLast: Bool
        var term: Term
        /// The last entry of the run.
        var last: LogIndex
        /// The first one's batch is this one or a later one. Others say where later entries are, at the earliest.
        var marks: [LogTable.Mark]
    }

    /// Nil if the log does not hold the entry.
    func place(of index: LogIndex, _ key: LogKey) -> Place? {
        contents.withLock { contents in
            guard let run = contents.table.replicas[key]?.run(of: index),
                let segment = contents.segments.first(where: { $0.number == run.segment })
            else { return nil }
            let part = run.part(first: index, last: run.last)
            let isThere = part.marks[0].offset < segment.end || mutated(.readsWhatIsNotDurable)
            guard isThere else { return nil }
            let isLast = segment.number == contents.segments.last?.number
            return Place(segment: segment, isLast: isLast, term: run.term, last: run.last, marks: part.marks)
        }
    }
}
