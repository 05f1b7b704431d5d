import FlotillaIO
import Testing

@Suite("Memory that was freed")
struct FreedMemoryTests {
    @Test("it is given back when many pieces have come, or few and no more")
    func counts() {
        let freed = FreedMemory(few: 3, many: 5)
        #expect((1...4).map { _ in freed.note(isLast: false) } == [false, false, false, false])
        #expect(freed.note(isLast: false))
        let other = FreedMemory(few: 3, many: 5)
        #expect((1...3).map { _ in other.note(isLast: true) } == [false, false, true])
    }
}
