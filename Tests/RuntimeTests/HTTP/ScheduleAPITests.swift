import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Schedules over HTTP")
struct ScheduleAPITests {
    private func ask(
        _ node: FakeNode, _ method: String, _ path: String, body: String = ""
    ) async throws -> (status: Int, json: JSONValue) {
        let response = await HTTPAPI(node: node).respond(
            to: HTTPRequest(
                method: method, path: path, segments: path.split(separator: "/").map(String.init), query: [],
                body: Array(body.utf8)))
        return (response.status, response.body.isEmpty ? .null : try JSONValue(parsing: response.body))
    }

    @Test("a schedule is created, shown and changed; what makes no sense is refused by name")
    func schedules() async throws {
        let node = FakeNode()
        let body =
            #"{"name":"n","workflow":"report","cron":"0 6 * * *","timeZone":"Europe/Berlin","overlap":"queue","#
            + #""jitterSeconds":60,"catchUpSeconds":0,"input":{"a":1},"attributes":{"k":"v"},"version":2,"paused":true}"#
        let made = try await ask(node, "POST", "/v1/schedules", body: body)
        #expect(made.status == 201 && made.json["cron"] == "0 6 * * *" && made.json["timeZone"] == "Europe/Berlin")
        #expect(made.json["overlap"] == "queue" && made.json["paused"] == true && made.json["version"] == 2)
        #expect(made.json["input"] == ["a": 1] && made.json["attributes"] == ["k": "v"])
        #expect(ScheduleCommands.text(of: made.json).contains("0 6 * * * (Europe/Berlin)"))
        for bad in [
            #"{"workflow":"w","everySeconds":5}"#, #"{"name":"n","everySeconds":5}"#, #"{"name":"n","workflow":"w"}"#,
            #"{"name":"n","workflow":"w","cron":"x"}"#, #"{"name":"n","workflow":"w","everySeconds":1.5}"#,
            #"{"name":"n","workflow":"w","everySeconds":5,"overlap":"never"}"#,
            #"{"name":"n","workflow":"w","everySeconds":5,"cron":"@daily"}"#, #"{"name":"n","workflow":"w","every":5}"#,
        ] {
            #expect(try await ask(node, "POST", "/v1/schedules", body: bad).status == 400, "\(bad)")
        }
        #expect(try await ask(node, "GET", "/v1/schedules").json["schedules"]?.elements.count == 1)
        let known = try await ask(node, "GET", "/v1/schedules/nightly")
        #expect(known.status == 200 && known.json["next"]?.elements.first == "1970-01-02T00:00:00.000000Z")
        #expect(try await ask(node, "GET", "/v1/schedules/other").status == 404)
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/pause", body: #"{"note":"x"}"#).status == 200)
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/trigger").status == 200)
        let range = #"{"from":"1970-01-01T00:00:01Z","to":"1970-01-01T00:00:02Z"}"#
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/backfill", body: range).status == 200)
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/backfill", body: #"{"from":"now"}"#).status == 400)
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/resume", body: #"{"note":"x"}"#).status == 400)
        #expect(try await ask(node, "POST", "/v1/schedules/nightly/dance").status == 404)
        #expect(try await ask(node, "DELETE", "/v1/schedules/nightly").status == 204)
        let changes = node.calls.withLock { $0.changes }
        #expect(
            changes == [
                "create n report true", #"nightly pause(note: "x")"#, "nightly trigger",
                "nightly backfill(from: 1000000000, to: 2000000000)", "delete nightly",
            ])
    }
}
