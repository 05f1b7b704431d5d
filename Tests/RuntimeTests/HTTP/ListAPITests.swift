import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Attributes, counts and waits over HTTP")
struct ListAPITests {
    private func ask(
        _ node: FakeNode, _ method: String, _ path: [String], _ query: [(String, String)] = [], body: String = ""
    ) async throws -> (status: Int, json: JSONValue) {
        let response = await HTTPAPI(node: node).respond(
            to: HTTPRequest(
                method: method, path: "/" + path.joined(separator: "/"), segments: path,
                query: query.map { (name: $0.0, value: $0.1) }, body: Array(body.utf8)))
        return (response.status, try JSONValue(parsing: response.body))
    }

    @Test("a start takes attributes, which must be strings")
    func start() async throws {
        let node = FakeNode()
        let body = #"{"type":"t","attributes":{"customer":"acme"}}"#
        #expect(try await ask(node, "POST", ["v1", "workflows"], body: body).status == 201)
        #expect(node.calls.withLock { $0.attributes } == [["customer": "acme"]])
        for bad in [#"{"type":"t","attributes":["a"]}"#, #"{"type":"t","attributes":{"a":1}}"#] {
            #expect(try await ask(node, "POST", ["v1", "workflows"], body: bad).status == 400)
        }
    }

    @Test("lists and counts go by status, type, attributes and time")
    func filters() async throws {
        let node = FakeNode()
        let query = [
            ("status", "failed"), ("type", "t"), ("attribute", "customer=acme"), ("attribute", "size="),
            ("startedFrom", "2026-11-22T08:00:00Z"), ("startedBefore", "2026-11-22T09:00:00Z"),
        ]
        let count = try await ask(node, "GET", ["v1", "workflow-count"], query)
        #expect(count.status == 200 && count.json["count"] == 4)
        #expect(count.json["byStatus"]?["running"] == 3 && count.json["byStatus"]?["parked"] == 0)
        #expect(count.json["asOf"] == "1970-01-01T00:00:00.001000Z")
        #expect(try await ask(node, "GET", ["v1", "workflows"], query).status == 200)
        let (counted, listed) = node.calls.withLock { ($0.counts.first, $0.lists.first?.filter) }
        var filter = WorkflowFilter(status: .failed, type: "t", attributes: ["customer": "acme", "size": ""])
        filter.startedFrom = WallTime(rfc3339: "2026-11-22T08:00:00Z")?.nanoseconds
        filter.startedBefore = WallTime(rfc3339: "2026-11-22T09:00:00Z")?.nanoseconds
        #expect(counted == filter && listed == filter)
        for bad in [("attribute", "acme"), ("startedFrom", "now"), ("limit", "3"), ("status", "gone")] {
            #expect(try await ask(node, "GET", ["v1", "workflow-count"], [bad]).status == 400, "\(bad)")
        }
    }

    @Test("a description says what the run waits for, in words as well")
    func waits() async throws {
        var run = FakeNode.run(status: .running)
        var wait = WorkflowWait(.retry, "charge", 2, since: 1_000_000, until: 2_000_000)
        (wait.attempts, wait.failure) = (3, WorkflowFailure(type: "Declined", message: "no money"))
        run.waits = [wait]
        let answer = try await ask(FakeNode(.init(run: run)), "GET", ["v1", "workflows", "order-17"])
        let told = try #require(answer.json["waits"]?.elements.first)
        #expect(told["reason"] == "retry" && told["name"] == "charge" && told["occurrence"] == 2)
        #expect(told["attempts"] == 3 && told["failure"]?["type"] == "Declined")
        #expect(told["until"] == "1970-01-01T00:00:00.002000Z")
        let text = ClientTables.description(answer.json)
        #expect(
            text.contains("step 'charge' has failed 3 times, is tried again at 1970-01-01T00:00:00.002000Z: Declined"))
    }
}
