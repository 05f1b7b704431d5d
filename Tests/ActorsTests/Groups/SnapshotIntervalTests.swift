import Testing

@testable import FlotillaActors

@Suite("How often snapshots are taken")
struct SnapshotIntervalTests {
    private func interval(bytes: UInt64, threshold: Int = 10_000) -> UInt64 {
        var state = SnapshotState(newest: nil)
        state.bytes = bytes
        return state.interval(threshold: threshold)
    }

    @Test("a small state has one after as many entries as the settings say")
    func small() {
        #expect(interval(bytes: 0) == 10_000)
        #expect(interval(bytes: 1 << 20) == 10_000)
        #expect(interval(bytes: 1 << 20, threshold: 1) == 1)
    }

    @Test("a large one is written down once for as many entries as it has pieces of 64 bytes, or twice as many")
    func large() {
        #expect(interval(bytes: 1_280_000) == 20_000)
        #expect(interval(bytes: 100 << 20) == 2_560_000)
        // Members whose newest snapshots are not of one size meet at every second one at least.
        for bytes in stride(from: UInt64(2 << 20), to: 200 << 20, by: 777_777) {
            let (a, b) = (interval(bytes: bytes), interval(bytes: bytes + bytes / 10))
            #expect(a >= bytes / 64 && a < bytes / 32)
            #expect(b == a || b == 2 * a)
        }
    }
}
