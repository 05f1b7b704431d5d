import FlotillaIO
import Testing

@testable import FlotillaScenarios

@Suite struct LinearizabilityTests {
    private typealias Item = HistoryOperation<RegisterModel.Operation>

    private func check(_ history: [Item]) -> Linearizability.Verdict {
        Linearizability.check(history, as: RegisterModel.self)
    }

    private func write(_ value: UInt64, _ called: Int, _ returned: Int?) -> Item {
        Item(.write(value), called: called, returned: returned)
    }

    private func read(_ value: UInt64, _ called: Int, _ returned: Int?) -> Item {
        Item(.read(value), called: called, returned: returned)
    }

    @Test("nothing that happened, and one operation after the other, are linearizable")
    func sequential() {
        #expect(check([]) == .linearizable)
        #expect(check([read(0, 1, 2), write(7, 3, 4), read(7, 5, 6)]) == .linearizable)
    }

    @Test("a read that began after a write had ended must see it")
    func staleRead() {
        #expect(check([write(7, 1, 2), read(0, 3, 4)]) == .violated(atCall: 3))
        #expect(check([write(7, 1, 2), write(8, 3, 4), read(7, 5, 6)]) == .violated(atCall: 5))
    }

    @Test("a read beside a write may see it or not, but a later one not less")
    func concurrent() {
        #expect(check([write(7, 1, 10), read(0, 2, 3), read(7, 4, 5)]) == .linearizable)
        #expect(check([write(7, 1, 10), read(7, 2, 3), read(0, 4, 5)]) != .linearizable)
    }

    @Test("two reads beside two writes must agree on their order")
    func orderOfWrites() {
        let writes = [write(1, 1, 20), write(2, 2, 21)]
        #expect(check(writes + [read(1, 3, 4), read(2, 5, 6)]) == .linearizable)
        #expect(check(writes + [read(2, 3, 4), read(1, 5, 6)]) == .linearizable)
        #expect(check(writes + [read(1, 3, 4), read(2, 5, 6), read(1, 7, 8)]) != .linearizable)
    }

    @Test("an operation of unknown outcome may take effect at any time after its call, or never")
    func unknownOutcome() {
        #expect(check([write(7, 1, nil), read(0, 2, 3), read(0, 4, 5)]) == .linearizable)
        #expect(check([write(7, 1, nil), read(0, 2, 3), read(7, 4, 5)]) == .linearizable)
        #expect(check([write(7, 1, nil), read(7, 2, 3), read(0, 4, 5)]) != .linearizable)
        #expect(check([read(7, 1, 2), write(7, 3, nil)]) != .linearizable, "not before its call")
    }

    @Test("a compare-and-set writes only where it found what it expected")
    func compareAndSet() {
        func compareAndSet(_ expected: UInt64, _ new: UInt64, found: UInt64?, _ called: Int, _ returned: Int?) -> Item {
            Item(.compareAndSet(expected: expected, new: new, found: found), called: called, returned: returned)
        }
        #expect(check([write(1, 1, 2), compareAndSet(1, 2, found: 1, 3, 4), read(2, 5, 6)]) == .linearizable)
        #expect(check([write(1, 1, 2), compareAndSet(9, 2, found: 1, 3, 4), read(2, 5, 6)]) != .linearizable)
        #expect(check([write(1, 1, 2), compareAndSet(1, 2, found: 9, 3, 4)]) != .linearizable)
        #expect(check([compareAndSet(0, 2, found: nil, 1, nil), read(2, 2, 3)]) == .linearizable)
        let both = [compareAndSet(0, 1, found: 0, 1, 10), compareAndSet(0, 2, found: 0, 2, 11)]
        #expect(check(both) != .linearizable, "only one can have found it")
    }

    @Test("a history that cannot be decided within the steps is said to be undecided")
    func undecided() {
        let writes = (0..<12).map { write(UInt64($0) + 1, Int($0) + 1, 100 + Int($0)) }
        let history = writes + [read(99, 200, 201)]
        #expect(Linearizability.check(history, as: RegisterModel.self, stepLimit: 100) == .undecided(steps: 100))
        #expect(check(history) == .violated(atCall: 200))
    }

    @Test("what nobody has seen of an unknown outcome is left out, and the verdict stays the same")
    func relevant() {
        for seed in UInt64(1)...300 {
            let history = Self.randomHistory(seed: seed)
            let relevant = RegisterModel.relevant(history)
            #expect(relevant.count <= history.count)
            #expect((check(relevant) == .linearizable) == (check(history) == .linearizable), "seed \(seed)")
        }
    }

    @Test("histories of a real register are linearizable, and with one wrong answer they are not")
    func realRegister() {
        for seed in UInt64(1)...200 {
            var history = Self.randomHistory(seed: seed, errors: 0)
            #expect(check(history) == .linearizable, "seed \(seed)")
            let place = history.firstIndex { item in
                if case .read = item.operation { item.returned != nil } else { false }
            }
            guard let place else { continue }
            history[place].operation = .read(1_000_000)
            #expect(check(history) != .linearizable, "seed \(seed)")
        }
    }

    /// What clients see of a register that answers one after the other, with calls and returns around that. Some
    /// outcomes are unknown; some answers are wrong.
    private static func randomHistory(seed: UInt64, errors: UInt64 = 12) -> [Item] {
        var random = SeededGenerator(seed: seed)
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        var value: UInt64 = 0
        var history: [Item] = []
        for number in UInt64(1)...14 {
            // The moment of its effect is 10 * number; calls and returns overlap with the neighbours'.
            let called = Int(number * 10) - 1 - Int(below(3)) * 10
            let returned = Int(number * 10) + 1 + Int(below(3)) * 10
            let isWrong = errors > 0 && below(errors) == 0
            let isKnown = below(4) > 0
            // A unique position for each event.
            let (call, end) = (called * 100 + Int(number), isKnown ? returned * 100 + Int(number) : nil)
            switch below(3) {
            case 0: history.append(Item(.read(isWrong ? below(15) : value), called: call, returned: end))
            case 1:
                history.append(Item(.write(number), called: call, returned: end))
                if isKnown || below(2) == 0 { value = number }
            default:
                let expected = below(2) == 0 ? value : below(15)
                let found = isKnown ? (isWrong ? below(15) : value) : nil
                history.append(
                    Item(
                        .compareAndSet(expected: expected, new: number, found: found), called: call, returned: end))
                if value == expected, isKnown || below(2) == 0 { value = number }
            }
        }
        return history
    }
}
