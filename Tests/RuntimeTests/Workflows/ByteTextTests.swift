import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Text that is compared by its bytes")
struct ByteTextTests {
    @Test("what Unicode calls the same is not, unless the bytes are")
    func equivalence() {
        #expect("\u{E9}" == "e\u{301}")
        #expect(ByteText("\u{E9}") != ByteText("e\u{301}"))
        #expect(ByteText("e\u{301}") < ByteText("\u{E9}"))
        #expect(Set([ByteText("\u{E9}"), ByteText("e\u{301}"), ByteText("\u{E9}")]).count == 2)
    }

    @Test("equality and order are those of the bytes", arguments: Simulation.seeds(3))
    func order(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        // Short ones lie in the string itself, long ones do not; many begin alike.
        let texts = (0..<60).map { _ in
            String(
                (0..<Int.random(in: 0...24, using: &random)).map { _ in
                    ["a", "b", "\0", "\u{E9}", "\u{1F6A2}"].randomElement(using: &random)! as Character
                })
        }
        for a in texts + ["", "aaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaab"] {
            for b in texts + ["", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
                #expect((ByteText(a) == ByteText(b)) == (Array(a.utf8) == Array(b.utf8)), "seed \(seed)")
                #expect(
                    (ByteText(a) < ByteText(b)) == a.utf8.lexicographicallyPrecedes(b.utf8), "seed \(seed)")
            }
        }
    }
}
