import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct PendingProposalsTests {
    private func item(_ number: UInt64) -> PendingProposals.Item {
        let now = MonotonicTime(nanoseconds: number)
        return .init(
            completion: Completion(), payload: [UInt8(number & 0xFF)], isForOthers: false, deadline: now, retryAt: now)
    }

    @Test("numbers are given in order, and all below the oldest that waits count as answered")
    func numbers() {
        var pending = PendingProposals()
        #expect(pending.next == (1, 1))
        for number: UInt64 in 1...3 { #expect(pending.append(item(number)) == number) }
        #expect(pending.next == (4, 1) && pending.sequences == [1, 2, 3])
        #expect(pending.remove(2)?.payload == [2] && pending.remove(2) == nil && pending.remove(9) == nil)
        #expect(pending.next == (4, 1) && pending.sequences == [1, 3] && pending[2] == nil)
        #expect(pending.remove(1) != nil)
        #expect(pending.next == (4, 3) && pending.count == 1)
        #expect(pending.remove(3) != nil)
        #expect(pending.next == (4, 4) && pending.isEmpty)
        #expect(pending.append(item(4)) == 4 && pending[4]?.payload == [4] && pending[3] == nil)
        #expect(pending.removeAll().count == 1 && pending.isEmpty && pending.next == (5, 5))
    }

    @Test("it holds what a dictionary would, whatever is answered first", arguments: 1...20 as ClosedRange<UInt64>)
    func model(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var pending = PendingProposals()
        var model: [UInt64: [UInt8]] = [:]
        for _ in 0..<2_000 {
            if Int.random(in: 0..<100, using: &random) < 50 {
                let number = pending.next.sequence
                let item = item(number)
                #expect(pending.append(item) == number)
                model[number] = item.payload
            } else if let number = model.keys.sorted().prefix(10).randomElement(using: &random) {
                pending.with(number) { $0.payload.append(1) }
                #expect(pending.remove(number)?.payload == model.removeValue(forKey: number).map { $0 + [1] })
            }
            if model.isEmpty, Bool.random(using: &random) { pending.shrink() }
            guard pending.count == model.count,
                pending.next.acknowledgedBelow == model.keys.min() ?? pending.next.sequence
            else {
                Issue.record("seed \(seed): \(pending.sequences), and not \(model.keys.sorted())")
                return
            }
        }
        #expect(pending.sequences == model.keys.sorted(), "seed \(seed)")
        for (number, payload) in model { #expect(pending[number]?.payload == payload, "seed \(seed)") }
    }
}
