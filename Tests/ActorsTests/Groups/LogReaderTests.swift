import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// The queue of pages that groups want from the log.
@Suite struct LogReaderTests {
    /// Takes reads, and never carries them out.
    private struct Nobody: Worker {
        let taken: Lock<[@Sendable () -> Void]>
        func submit(
            _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop
        ) { taken.withLock { $0.append(completion) } }
        func shutdown() async {}
    }

    @Test(
        "pages are read in the order in which they were asked for, and what was read is not kept although some always wait"
    )
    func order() throws {
        let taken = Lock<[@Sendable () -> Void]>([])
        let read = Lock<[UInt64]>([])
        var reader = LogReader(
            store: MemoryLogStore(), worker: Nobody(taken: taken), loop: EventLoop(name: "never started"))
        let replica = ReplicaIdentity(group: GroupID(1), incarnation: 1, kind: .workflow, replica: ReplicaID(1))
        func ask(_ number: UInt64) {
            reader.add([LogRead(purpose: .apply, first: LogIndex(number), bytesMax: 1, term: Term(1))], of: replica)
        }
        for number in 1...100 as ClosedRange<UInt64> { ask(number) }
        let count: UInt64 = 10_000
        for number in 1...count {
            if number + 100 <= count { ask(number + 100) }
            reader.start { request, _ in read.withLock { $0.append(request.read.first.rawValue) } }
            let completion = try #require(taken.withLock { $0.isEmpty ? nil : $0.removeFirst() })
            completion()
            reader.didComplete()
            #expect(reader.keptCount <= 400)
        }
        #expect(read.withLock { $0 } == Array(1...count))
        #expect(reader.keptCount == 0)
    }
}
