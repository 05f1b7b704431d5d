import Flotilla
import FlotillaIO
import Testing

@testable import FlotillaBenchmarks

/// What is told to runs and objects, and asked of them, by commands and over HTTP.
@Suite("flotilla workflow signal, update, query and follow, awakeable and object", .timeLimit(.minutes(4)))
struct MessageCommandTests {
    @Test("a run receives signals and updates, answers queries, and is followed until it has ended")
    func messages() async throws {
        try await CommandDesk.with("messages") { desk in
            try await desk.start("talk", ["emit:hello", "signal", "update", "signal", "emit:good bye"])
            #expect(try await desk.flotilla("workflow", "query", "talk", "said", input: nil) == "[]\n")
            // Whoever follows it is there from the beginning, and has seen all when it ends.
            async let followed = desk.flotilla("workflow", "follow", "talk")
            try await signals(desk)
            try await updates(desk)
            let number = ["--sender", "desk", "--number", "1"]
            for _ in 1...2 {
                let sent = try await desk.run(["workflow", "signal", "talk", "word", "--value", "\"third\""] + number)
                #expect(sent.code == .exited(0), "\(sent)")
            }
            #expect(try await desk.json("workflow", "result", "talk") == ["first", "second", "third"])
            let lines = try await followed.split(separator: "\n").map { $0.split(separator: " ", maxSplits: 1) }
            #expect(lines.map { $0[1].drop { $0 == " " } } == ["hello", "good bye"])
            let rest = try await desk.flotilla("workflow", "follow", "talk", "--after", String(lines[0][0]), "--json")
            #expect(try JSONDocument.read(rest)["value"] == "good bye")
            #expect(try await desk.flotilla("workflow", "follow", "talk", "--stream", "other").isEmpty)
            let place = try await desk.refused("workflow", "follow", "talk", "--after", "nowhere")
            #expect(place.contains("'nowhere' is no place in a stream"), "\(place)")
            try await queries(desk)
        }
    }

    private func signals(_ desk: CommandDesk) async throws {
        let sent = try await desk.flotilla("workflow", "signal", "talk", "word", "--value", "-", input: "\"first\"")
        #expect(sent == "talk will receive it.\n")
        try await desk.wait("talk", says: "waits for update 'word'")
        let unknown = try await desk.refused("workflow", "signal", "nobody", "word")
        #expect(unknown.contains("nobody"), "\(unknown)")
        let half = try await desk.refused("workflow", "signal", "talk", "word", "--sender", "desk")
        #expect(half.contains("sender and number belong together"), "\(half)")
        let name = try await desk.refused("workflow", "signal", "talk", code: 64)
        #expect(name.contains("NAME is missing") && name.contains("flotilla workflow signal --help"), "\(name)")
        let number = try await desk.refused(
            "workflow", "signal", "talk", "word", "--sender", "a", "--number", "0", code: 64)
        #expect(number.contains("--number 0: not a number from 1"), "\(number)")
    }

    private func updates(_ desk: CommandDesk) async throws {
        let rejected = try await desk.refused("workflow", "update", "talk", "word", "--input", "\"\"", "--id", "u-1")
        #expect(rejected.contains("u-1 was rejected") && rejected.contains("a word has letters"), "\(rejected)")
        let kind = try await desk.refused("workflow", "update", "talk", "word", "--input", "17")
        #expect(kind.contains("was rejected") && kind.contains("update 'word' takes a String"), "\(kind)")
        let answer = try await desk.flotilla(
            "workflow", "update", "talk", "word", "--input", "\"second\"", "--id", "u-2")
        #expect(answer == "\"second, indeed\"\n")
        // The run waits for a signal now, and has the answer of the one before.
        let again = try await desk.json(
            "workflow", "update", "talk", "word", "--input", "\"second\"", "--id", "u-2", "--json")
        #expect(again["status"] == "completed" && again["output"] == "second, indeed")
        let early = try await desk.refused(
            "workflow", "update", "talk", "word", "--input", "\"x\"", "--id", "u-3", "--wait", "100ms")
        #expect(early.contains("u-3 is not answered yet; ask again with --id u-3"), "\(early)")
        let wait = try await desk.refused("workflow", "update", "talk", "word", "--wait", "soon", code: 64)
        #expect(wait.contains("--wait soon: write 500ms"), "\(wait)")
    }

    /// Of a run that has ended: its code answers.
    private func queries(_ desk: CommandDesk) async throws {
        let all = try await desk.json("workflow", "query", "talk", "said")
        #expect(all == ["first", "second", "third"])
        #expect(try await desk.json("workflow", "query", "talk", "said", "--input", "1") == ["third"])
        let input = try await desk.refused("workflow", "query", "talk", "said", "--input", "\"x\"")
        #expect(input.contains("query 'said' takes a"), "\(input)")
        let unknown = try await desk.refused("workflow", "query", "talk", "mood")
        #expect(unknown.contains("mood"), "\(unknown)")
        let nobody = try await desk.refused("workflow", "query", "nobody", "said")
        #expect(nobody.contains("nobody"), "\(nobody)")
    }

    @Test("what a run waits for is completed or rejected by its token, by the command and over HTTP, once")
    func awakeables() async throws {
        try await CommandDesk.with("awakeables") { desk in
            for id in ["asked", "asked-again", "refused"] { try await desk.start(id, ["awakeable", "step:done"]) }
            let (first, second, third) = (
                try await token(of: "asked", desk), try await token(of: "asked-again", desk),
                try await token(of: "refused", desk)
            )
            #expect(try await desk.flotilla("awakeable", "resolve", first, "--value", "\"paid\"") == "Completed.\n")
            #expect(try await desk.json("workflow", "result", "asked") == ["paid", "done"])
            // The same again is no mistake, another value is one.
            #expect(try await desk.flotilla("awakeable", "resolve", first, "--value", "\"paid\"") == "Completed.\n")

            let api = await desk.cluster.api(2)
            let empty = try await api.post("/v1/awakeables/\(second)", "{}")
            #expect(empty.status == 400 && empty.problem.contains("say either value"), "\(empty.problem)")
            let answer = try await api.post("/v1/awakeables/\(second)", #"{"value":"paid twice"}"#)
            #expect(answer.status == 204, "\(answer.problem)")
            #expect(try await desk.json("workflow", "result", "asked-again") == ["paid twice", "done"])
            let other = try await api.post("/v1/awakeables/\(second)", #"{"reject":"too late"}"#)
            #expect(other.status == 409, "\(other.problem)")

            #expect(try await desk.flotilla("awakeable", "reject", third, "--reason", "no money") == "Rejected.\n")
            let failed = try await desk.refused("workflow", "result", "refused")
            #expect(failed.contains("refused failed") && failed.contains("no money"), "\(failed)")
            let contradiction = try await desk.refused("awakeable", "resolve", third)
            #expect(!contradiction.isEmpty)

            let nonsense = try await desk.refused("awakeable", "resolve", "nonsense")
            #expect(nonsense.contains("'nonsense' is no token of an awakeable"), "\(nonsense)")
            let forged = String(first.dropLast(4)) + (first.hasSuffix("AAAA") ? "BBBB" : "AAAA")
            #expect(try await api.post("/v1/awakeables/\(forged)", #"{"value":1}"#).status == 404)
            let missing = try await desk.refused("awakeable", "resolve", code: 64)
            #expect(missing.contains("TOKEN is missing"), "\(missing)")
        }
    }

    /// As the run recorded it, once it waits.
    private func token(of id: String, _ desk: CommandDesk) async throws -> String {
        try await desk.wait(id, says: "waits for awakeable 'answer#0'")
        let run = try await desk.json("workflow", "describe", id, "--json")
        let step = try #require(run["steps"]?.items.first { $0["name"] == "token" })
        guard case .string(let token)? = step["value"] else { throw BenchError("\(id) has recorded no token") }
        return token
    }

    @Test("an object is called, each call once, and shown; status shows what all nodes run")
    func objects() async throws {
        try await CommandDesk.with("objects") { desk in
            #expect(try await desk.flotilla("object", "call", "counter", "page-7", "add", "--input", "2") == "2\n")
            for _ in 1...2 {
                let total = try await desk.flotilla(
                    "object", "call", "counter", "page-7", "add", "--input", "40", "--id", "request-81")
                #expect(total == "42\n")
            }
            #expect(try await desk.flotilla("object", "show", "counter", "page-7") == "42\n")
            let thrown = try await desk.refused("object", "call", "counter", "page-7", "add", "--input=-1")
            #expect(thrown.contains("method 'add' threw") && thrown.contains("a counter only rises"), "\(thrown)")
            #expect(try await desk.flotilla("object", "show", "counter", "page-7") == "42\n")
            let method = try await desk.refused("object", "call", "counter", "page-7", "subtract")
            #expect(method.contains("object 'counter' has no method 'subtract'"), "\(method)")
            let object = try await desk.refused("object", "call", "clock", "page-7", "add")
            #expect(object.contains("clock"), "\(object)")
            let key = try await desk.refused("object", "show", "counter", "page-8")
            #expect(key.contains("object 'counter' of key 'page-8' was never called"), "\(key)")
            let words = try await desk.refused("object", "call", "counter", code: 64)
            #expect(words.contains("KEY is missing"), "\(words)")

            let status = try await desk.flotilla("status", "--hash")
            for part in ["ready", "yes", "1 running", "NODE", "CLUSTER", "management", "1,2,3", "STATE"] {
                #expect(status.contains(part), "\(status)")
            }
            let value = try await desk.json("status", "--json")
            #expect(value["ready"] == true && value["fleet"]?["nodes"]?.items.map { $0["id"] } == [1, 2, 3])
        }
    }
}
