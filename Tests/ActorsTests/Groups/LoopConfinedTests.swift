import FlotillaIO
import Testing

@testable import FlotillaActors

@Suite("Actors on a loop")
struct LoopConfinedTests {
    private actor Counter: LoopConfined {
        nonisolated let loop: any Loop
        nonisolated let unownedExecutor: UnownedSerialExecutor
        private var count = 0

        init(on loop: any Loop) {
            self.loop = loop
            unownedExecutor = loop.asUnownedSerialExecutor()
        }

        func add(_ number: Int) -> Int {
            count += number
            return count
        }
    }

    private struct Refusal: Error, Equatable {}

    @Test("on the loop their state is at hand, and what is thrown comes out")
    func onTheLoop() async throws {
        let loop = EventLoop(name: "confined")
        try loop.start()
        let counter = Counter(on: loop)
        let counts = await loop.run { [counter.assumeOnLoop { $0.add(1) }, counter.assumeOnLoop { $0.add(2) }] }
        #expect(counts == [1, 3])
        await #expect(throws: Refusal()) {
            try await loop.run { () throws(Refusal) in
                try counter.assumeOnLoop { _ throws(Refusal) in throw Refusal() }
            }
        }
        #expect(await counter.add(1) == 4)
        await loop.shutdown()
    }

    @Test("anywhere else the process ends before their state is touched")
    func elsewhere() async {
        await #expect(processExitsWith: .failure) {
            let loop = EventLoop(name: "confined")
            try loop.start()
            _ = Counter(on: loop).assumeOnLoop { $0.add(1) }
        }
    }
}
