import FlotillaIO
import Testing

@testable import FlotillaActors

@Suite("Addresses that a node was told at its start") struct SeedCallsTests {
    @Test("they are called in turn, one a second, and not those that are called anyway")
    func turns() {
        var now = MonotonicTime(nanoseconds: 0)
        var calls = SeedCalls(["a", "b", "c"], now: now)
        var taken: [String?] = []
        for _ in 0..<6 {
            taken.append(calls.take(now) { $0 == "b" })
            now = now.advanced(by: .milliseconds(600))
        }
        #expect(taken == [nil, nil, "a", nil, "c", nil])
        var none = SeedCalls([], now: now)
        now = now.advanced(by: .seconds(2))
        let (nobody, known) = (none.take(now) { _ in false }, calls.take(now) { _ in true })
        #expect(nobody == nil && known == nil)
    }
}
