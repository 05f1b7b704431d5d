import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("OrderedMap")
struct OrderedMapTests {
    @Test("it does what a sorted dictionary does", arguments: Simulation.seeds(20))
    func random(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var map = OrderedMap<Int, Int>()
        var model: [Int: Int] = [:]
        var highest = 0
        for step in 0..<6_000 {
            if step < 3_000 || step.isMultiple(of: 5) {
                // Mostly in ascending order, and sometimes anywhere.
                highest += Int.random(in: 1...3, using: &generator)
                let isAnywhere = Int.random(in: 0...9, using: &generator) == 0
                let key = isAnywhere ? Int.random(in: 0...highest, using: &generator) : highest
                guard model[key] == nil else { continue }
                map.insert(step, for: key)
                model[key] = step
            } else {
                let key = Int.random(in: 0...highest, using: &generator)
                #expect(map.remove(key) == model.removeValue(forKey: key), "seed \(seed)")
            }
            guard step.isMultiple(of: 97) else { continue }
            let sorted = model.sorted { $0.key < $1.key }
            let start = Int.random(in: -1...highest + 1, using: &generator)
            let rest = sorted.filter { $0.key > start }.prefix(300)
            #expect(map.elements(after: start, limit: 300).map(\.key) == rest.map(\.key), "seed \(seed)")
            #expect(map.elements.map(\.value) == sorted.map(\.value), "seed \(seed)")
            #expect(map.first?.key == sorted.first?.key && map.count == model.count, "seed \(seed)")
            #expect(map[start] == model[start], "seed \(seed)")
        }
        for key in model.keys.sorted() { map.remove(key) }
        #expect(map.count == 0 && map.first == nil && map.elements(after: 0, limit: 1).isEmpty)
    }
}
