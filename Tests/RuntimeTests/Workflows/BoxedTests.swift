import FlotillaActors
import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Values with storage of their own")
struct BoxedTests {
    private struct Record: Sendable {
        @Sparse var numbers: [Int]?
        @Sparse var text: String?
    }

    @Test("a sparse property is nil until it is set, and again when it is cleared")
    func sparse() {
        var record = Record()
        #expect(record.numbers == nil && record.text == nil)
        record.numbers = [1]
        record.numbers?.append(2)
        #expect(record.numbers == [1, 2])
        record.numbers = nil
        #expect(record.numbers == nil)
        // Nothing comes of a change of what is not there.
        record.numbers?.append(3)
        #expect(record.numbers == nil)
    }

    @Test("a copy keeps what it had, whichever of the two is changed")
    func copies() {
        var record = Record()
        (record.numbers, record.text) = ([1], "a")
        let copy = record
        record.numbers?.append(2)
        record.text = nil
        #expect(record.numbers == [1, 2] && record.text == nil)
        #expect(copy.numbers == [1] && copy.text == "a")
    }

    @Test("a change in its place copies nothing that nobody else holds")
    func inPlace() {
        var record = Record()
        record.numbers = Array(0..<1_000)
        let before = record.numbers.map { $0.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } }
        record.numbers?[5] = 7
        let after = record.numbers.map { $0.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } }
        #expect(before == after)
        var box = Boxed(Array(0..<1_000))
        let (first, second) = (
            box.value.address,
            {
                box.value[1] = 3
                return box.value.address
            }()
        )
        #expect(first == second)
    }

    @Test(
        "a map of few or many members does what a dictionary does, and so do its copies",
        arguments: Simulation.seeds(20))
    func maps(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let keyCount = [4, 12, 300][Int(seed % 3)]
        var map = BucketedMap<Int, Int>()
        var model: [Int: Int] = [:]
        var copy = (map, model)
        for step in 0..<2_000 {
            let key = Int.random(in: 0..<keyCount, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0, 1:
                map.insert(step, for: key)
                model[key] = step
            case 2: #expect(map.remove(key) == model.removeValue(forKey: key), "seed \(seed)")
            case 3:
                let isThere: Void? = map.update(key) { $0 += 1 }
                #expect((isThere == nil) == (model[key] == nil), "seed \(seed)")
                model[key]? += 1
            default: copy = (map, model)
            }
            #expect(map[key] == model[key] && map.count == model.count, "seed \(seed)")
            guard step.isMultiple(of: 50) else { continue }
            #expect(map.sorted().map(\.key) == model.keys.sorted(), "seed \(seed)")
            #expect(copy.0.sorted().map(\.value) == copy.1.sorted { $0.key < $1.key }.map(\.value), "seed \(seed)")
            var sum = 0
            map.visit { sum += $0 * $1 }
            #expect(sum == model.reduce(0) { $0 + $1.key * $1.value }, "seed \(seed)")
        }
    }

    @Test("a run's record takes less than 400 bytes, and its place in a table 40")
    func size() {
        #expect(MemoryLayout<Run>.size <= 384)
        #expect(MemoryLayout<RunKey>.size + MemoryLayout<Boxed<Run>>.size <= 40)
    }
}

extension [Int] {
    fileprivate var address: UInt { withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } }
}
