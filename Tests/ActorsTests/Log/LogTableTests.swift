import FlotillaRaft
import Testing

@testable import FlotillaActors

@Suite struct LogTableTests {
    private let key = LogKey(group: GroupID(7), incarnation: 1)

    private func entry(_ index: UInt64) -> Entry {
        Entry(index: LogIndex(index), term: Term(1), kind: .command, payload: [1])
    }

    /// A run of the entries 5, 6, ..., each so many bytes behind the one before, the first at 1,000.
    private func run(_ count: UInt64, every bytes: UInt64) -> LogTable.Run {
        var runs: [LogTable.Run] = []
        for number in 0..<count {
            runs.extend(
                with: entry(5 + number), place: LogTable.Place(segment: 3, offset: 1_000 + number * bytes))
        }
        #expect(runs.count == 1)
        return runs[0]
    }

    @Test("a copy of a table stays as it is when the table changes")
    func value() {
        var table = LogTable(keeping: .entries)
        let identity = ReplicaIdentity(
            group: key.group, incarnation: key.incarnation, kind: .benchmark, replica: ReplicaID(1))
        let place = LogTable.Place(segment: 1, offset: 0)
        var write = LogBatch.Write(group: key.group, incarnation: key.incarnation, created: identity)
        write.entries = [entry(1)]
        table.checkAndApply(write, place: place)
        let copy = table
        write.created = nil
        write.entries = [entry(2)]
        table.checkAndApply(write, place: place)
        #expect(table.replicas[key]?.last == LogIndex(2) && copy.replicas[key]?.last == LogIndex(1))
        write.entries = []
        write.isRemoved = true
        table.checkAndApply(write, place: place)
        #expect(!table.replicas.contains(key) && copy.replicas[key]?.entries == [entry(1)])
    }

    @Test("an entry is marked where its batch lies so far behind the last mark that much would be read in vain")
    func marks() {
        let near = run(100, every: 100)
        #expect(near.marks == [LogTable.Mark(first: LogIndex(5), offset: 1_000)])
        let spacing = LogTable.Mark.spacing
        let far = run(4, every: spacing / 2)
        #expect(
            far.marks == [
                LogTable.Mark(first: LogIndex(5), offset: 1_000),
                LogTable.Mark(first: LogIndex(7), offset: 1_000 + spacing),
            ])
    }

    @Test("a part of a run begins at the last mark before it, and has those that lie in it")
    func parts() {
        let spacing = LogTable.Mark.spacing
        let whole = run(6, every: spacing)
        #expect(whole.marks.count == 6)
        let part = whole.part(first: LogIndex(7), last: LogIndex(9))
        #expect(part.marks == Array(whole.marks[2...4]))
        #expect(part.part(first: LogIndex(9), last: LogIndex(9)).marks == [whole.marks[4]])
        let sparse = run(6, every: spacing / 2).part(first: LogIndex(8), last: LogIndex(10))
        #expect(
            sparse.marks == [
                LogTable.Mark(first: LogIndex(8), offset: 1_000 + spacing),
                LogTable.Mark(first: LogIndex(9), offset: 1_000 + 2 * spacing),
            ])
    }

    @Test("an entry too far behind the start of its run for a mark is looked for from the last mark on")
    func beyondMarks() {
        let step = UInt64(UInt32.max) - 10
        let run = run(3, every: step)
        #expect(
            run.marks == [
                LogTable.Mark(first: LogIndex(5), offset: 1_000),
                LogTable.Mark(first: LogIndex(6), offset: 1_000 + step),
            ])
        // Its own start may be anywhere.
        let part = run.part(first: LogIndex(6), last: LogIndex(7))
        #expect(part.marks == [LogTable.Mark(first: LogIndex(6), offset: 1_000 + step)])
    }

    @Test("what membership changes say is kept while a log is read, and given up then")
    func changes() {
        var space = LogSpace(.changes)
        let change = Entry(index: LogIndex(3), term: Term(1), kind: .configuration, payload: [4, 2])
        space.note(change, of: key)
        #expect(space.change(at: LogIndex(3), of: key) == [4, 2])
        space.forgetChanges()
        #expect(space.change(at: LogIndex(3), of: key) == nil)
        space.note(change, of: key)
        #expect(space.change(at: LogIndex(3), of: key) == nil)
    }
}
