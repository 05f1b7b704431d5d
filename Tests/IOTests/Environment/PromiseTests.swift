import FlotillaIO
import Testing

@Suite("Promises")
struct PromiseTests {
    @Test("a copy is the same promise, and another one is not")
    func copies() async throws {
        let promise = Promise<Int>()
        let copy = promise
        let other = Promise<Int>()
        #expect(copy.id == promise.id)
        #expect(other.id != promise.id)
        async let waited = copy.wait()
        #expect(promise.fulfill(1))
        #expect(!copy.fulfill(2))
        #expect(try await waited == 1)
        #expect(copy.value == 1)
        #expect(other.value == nil)
    }
}
