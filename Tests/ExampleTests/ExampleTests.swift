import Flotilla
import FlotillaIO
import Foundation
import Testing

@testable import FlotillaExamples

/// Every example, as its command runs it: on a node of its own.
@Suite struct ExampleTests {
    private func lines(of example: some Example) async throws -> [String] {
        let lines = Lock<[String]>([])
        try await withNode(NodeConfiguration(listen: "127.0.0.1:0", data: .memory), workflows: example.workflows) {
            try await example.run(on: $0) { line in lines.withLock { $0.append(line) } }
        }
        return lines.withLock { $0 }
    }

    @Test("an order that cannot be packed is refunded and released, in this order")
    func saga() async throws {
        #expect(
            try await lines(of: OrderSaga()) == [
                "order-kettle: parcel of kettle",
                "order-unicorn: workflow 'order-unicorn' failed: WorkflowError.stepFailed: step pack#0 failed at attempt 1: "
                    + "OutOfStock: OutOfStock()",
                "  the shop did: reserve kettle", "  the shop did: charge 3000", "  the shop did: pack kettle",
                "  the shop did: reserve unicorn", "  the shop did: charge 9900", "  the shop did: refund 9900",
                "  the shop did: release unicorn",
            ])
    }

    @Test("a person's decision reaches the run that waits for it")
    func approval() async throws {
        #expect(try await lines(of: HumanApproval()).last == "payment-1: 120000 cents: paid, allowed by ann")
    }

    @Test("a thousand children are started, and each is counted once")
    func fanOut() async throws {
        #expect(
            try await lines(of: FanOut()) == [
                "there are 9592 primes below 100,000", "1000 children counted them",
            ])
    }

    @Test("a schedule fires by hand, and starts its workflow")
    func nightlyReport() async throws {
        #expect(
            try await lines(of: NightlyReport()) == [
                "'reports' fires at half past two in Berlin: 5 firings are known ahead",
                "fired by hand: north: 5000 cents",
            ])
    }

    @Test("fifty callers at once are counted once each, and a call that is sent twice is one")
    func counter() async throws {
        #expect(try await lines(of: KeyedCounter()) == ["even: 35", "odd: 35"])
    }

    @Test("a service accepts an order once, refuses another of its id, and tells what became of it")
    func service() async throws {
        #expect(
            try await lines(of: OrderService()) == [
                "PUT a kettle as order-17: 201", "PUT a kettle as order-17: 200", "PUT a spoon as order-17: 409",
                "GET order-17: 200 parcel of kettle",
            ])
    }

    @Test("each example is a file that imports no more than a user of the package can")
    func imports() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../Examples")
        for example in Examples.all {
            let file = folder.appendingPathComponent("\(example).swift")
            let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
            let modules = Set(lines.filter { $0.contains("import ") && !$0.contains("//") }.map { $0.dropFirst(7) })
            #expect(modules.contains("Flotilla"), "\(example)")
            #expect(modules.isSubset(of: ["Flotilla", "FoundationEssentials"]), "\(example) imports \(modules)")
        }
    }

    @Test("the list of examples names each once, and says what it shows")
    func names() {
        #expect(Set(Examples.all.map { $0.name }).count == Examples.all.count)
        for example in Examples.all { #expect(Examples.help.contains("  \(example.name)")) }
    }
}
