import FlotillaIO
import Testing

@testable import Flotilla

@Suite("Requests of other nodes")
struct RequestServerTests {
    @Test("no more than a bounded number is worked on: the next one is refused until one has its answer")
    func bound() {
        let server = RequestServer(logger: .silent)
        for _ in 0..<RequestServer.openLimit { #expect(server.admit()) }
        #expect(!server.admit())
        server.finish()
        #expect(server.admit() && !server.admit())
    }
}
