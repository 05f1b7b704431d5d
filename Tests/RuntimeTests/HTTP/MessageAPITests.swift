import FlotillaIO
import Testing

@testable import Flotilla

@Suite("Messages over HTTP")
struct MessageAPITests {
    private func post(_ node: FakeNode, _ target: String, _ body: String) async throws -> (status: Int, json: JSONValue)
    {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let query = parts.dropFirst().map { pair in
            let sides = pair.split(separator: "=", maxSplits: 1).map(String.init)
            return (name: sides[0], value: sides[1])
        }
        let response = await HTTPAPI(node: node).respond(
            to: HTTPRequest(
                method: "POST", path: parts[0], segments: parts[0].split(separator: "/").map(String.init), query: query,
                body: Array(body.utf8)))
        return (response.status, response.body.isEmpty ? .null : try JSONValue(parsing: response.body))
    }

    @Test("a signal is taken with 204, with or without a sender, and refused with what is wrong")
    func signals() async throws {
        let node = FakeNode()
        #expect(try await post(node, "/v1/workflows/a/signals/go", #"{"value":7}"#).status == 204)
        #expect(try await post(node, "/v1/workflows/a/signals/go", #"{"sender":"s","number":3}"#).status == 204)
        #expect(node.calls.withLock { $0.messages } == ["signal a go 7 - 0", "signal a go  s 3"])
        for body in [#"{"sender":"s"}"#, #"{"number":1}"#, #"{"sender":"s","number":0}"#, #"{"valeu":1}"#, "7", ""] {
            #expect(try await post(node, "/v1/workflows/a/signals/go", body).status == 400, "\(body)")
        }
        #expect(try await post(node, "/v1/workflows/a/signals/full", "{}").status == 503)
    }

    @Test("an update answers 200 with what became of it, and 202 while it is not answered")
    func updates() async throws {
        let node = FakeNode()
        let done = try await post(node, "/v1/workflows/a/updates/set?wait=5s", #"{"input":[1],"id":"u7"}"#)
        #expect(done.status == 200 && done.json["status"]?.text == "completed")
        #expect(done.json["output"] == .array([.integer(5)]))
        let slow = try await post(node, "/v1/workflows/a/updates/slow", "{}")
        #expect(slow.status == 202 && slow.json["id"]?.text == "u")
        let no = try await post(node, "/v1/workflows/a/updates/no?wait=1000s", "{}")
        #expect(no.status == 200 && no.json["failure"]?["message"]?.text == "not that")
        #expect(
            node.calls.withLock { $0.messages } == [
                "update a set [1] u7 5.0 seconds", "update a slow  - 10.0 seconds", "update a no  - 60.0 seconds",
            ])
        #expect(try await post(node, "/v1/workflows/a/updates/set?wait=soon", "{}").status == 400)
    }

    @Test("a query answers with what the workflow says")
    func queries() async throws {
        let node = FakeNode()
        let answer = try await post(node, "/v1/workflows/a/queries/total", #"{"input":3}"#)
        #expect(answer.status == 200 && answer.json["output"] == .array([.string("total"), .integer(3)]))
        #expect(try await post(node, "/v1/workflows/a/queries/unknown", "").status == 404)
    }

    @Test("versions are listed with the nodes that have them and the runs that need them")
    func versions() async throws {
        let response = await HTTPAPI(node: FakeNode()).respond(
            to: HTTPRequest(
                method: "GET", path: "/v1/workflow-versions", segments: ["v1", "workflow-versions"], query: [], body: []
            ))
        let version = try JSONValue(parsing: response.body)["versions"]?.elements.first
        #expect(response.status == 200 && version?["type"]?.text == "w" && version?["running"] == .integer(4))
        #expect(version?["nodes"] == .array([.integer(1), .integer(3)]))
    }

    @Test("an awakeable is completed by its token, with a value or a no, and once only")
    func awakeables() async throws {
        let node = FakeNode()
        #expect(try await post(node, "/v1/awakeables/awk_x", #"{"value":null}"#).status == 204)
        #expect(try await post(node, "/v1/awakeables/awk_x", #"{"reject":"no"}"#).status == 204)
        #expect(node.calls.withLock { $0.messages } == ["awakeable awk_x  ", "awakeable awk_x - no"])
        #expect(try await post(node, "/v1/awakeables/awk_done", #"{"value":1}"#).status == 409)
        for body in ["{}", #"{"value":1,"reject":"x"}"#, #"{"reject":1}"#] {
            #expect(try await post(node, "/v1/awakeables/awk_x", body).status == 400, "\(body)")
        }
    }
}
