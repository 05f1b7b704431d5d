import Testing

@testable import FlotillaIO

@Suite struct WriteBufferTests {
    @Test("bytes come out in the order they went in, whatever is taken when")
    func model() {
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        var buffer = WriteBuffer()
        var model: [UInt8] = []
        for _ in 0..<2000 {
            if Bool.random(using: &random) {
                let largest = Int.random(in: 0..<50, using: &random) == 0 ? 300_000 : 2000
                let count = Int.random(in: 0...largest, using: &random)
                let bytes = [UInt8](
                    repeating: UInt8.random(in: 0...255, using: &random), count: count)
                buffer.append(bytes.span.bytes)
                model += bytes
            } else {
                let count = Int.random(in: 0...buffer.count, using: &random)
                buffer.consume(count)
                model.removeFirst(count)
            }
            let bytes = UnsafeRawBufferPointer(start: buffer.pointer, count: buffer.count)
            #expect(bytes.elementsEqual(model), "seed \(seed)")
        }
    }
}
