import Flotilla
import FoundationEssentials
import Testing

@testable import FlotillaBenchmarks

/// Every `flotilla workflow` command, as its user sees it: what it writes, how it ends, and what it does to the run.
@Suite("flotilla workflow", .timeLimit(.minutes(4)))
struct WorkflowCommandTests {
    @Test("a run is started once, described, listed page by page, counted, shown with its history, and removed")
    func runs() async throws {
        try await CommandDesk.with("runs", files: ["words.json": #"["step:one","emit:half","step:two"]"#]) { desk in
            let output = try await desk.flotilla(
                "workflow", "start", "sample_words", "--id", "first", "--input", "@\(desk.directory)/words.json",
                "--attributes", "customer=acme,city=Bonn", "--wait")
            #expect(output == "[\"one\",\"two\"]\n")
            try await starts(desk)
            try await descriptions(desk)
            try await lists(desk)
            try await histories(desk)
            try await removals(desk)
        }
    }

    private func starts(_ desk: CommandDesk) async throws {
        let again = try await desk.flotilla(
            "workflow", "start", "sample_words", "--id", "first", "--input", "-",
            "--attributes", "customer=acme,city=Bonn", input: #"["step:one","emit:half","step:two"]"#)
        #expect(again.hasPrefix("Was started before: first (run "))
        let same = try await desk.json(
            "workflow", "start", "sample_words", "--id", "first", "--input", #"["step:one","emit:half","step:two"]"#,
            "--wait", "--json")
        #expect(same["status"] == "completed" && same["output"] == ["one", "two"])
        let other = try await desk.refused("workflow", "start", "sample_words", "--id", "first", "--input", "[]")
        #expect(other.contains("first") && other.contains("input"), "\(other)")
        let unknown = try await desk.refused("workflow", "start", "nonsense", "--id", "second")
        #expect(unknown.contains("nonsense"), "\(unknown)")
        let version = try await desk.refused("workflow", "start", "sample_words", "--version", "7", "--input", "[]")
        #expect(version.contains("sample_words"), "\(version)")
        let wrong = try await desk.refused(
            "workflow", "start", "sample_words", "--id", "wrong", "--input", "[\"fly\"]", "--wait")
        #expect(wrong.contains("wrong failed") && wrong.contains("'fly' is no word"), "\(wrong)")
        let text = try await desk.refused("workflow", "start", "sample_words", "--input", "[", code: 64)
        #expect(text.contains("--input is not JSON") && text.contains("workflow start --help"), "\(text)")
        let file = try await desk.refused("workflow", "start", "sample_words", "--input", "@/nowhere/input.json")
        #expect(file.contains("/nowhere/input.json cannot be read: No such file"), "\(file)")
        let trace = try await desk.refused("workflow", "start", "sample_words", "--traceparent", "x", code: 64)
        #expect(trace.contains("--traceparent x: write 00-"), "\(trace)")
        let node = try await desk.refused("workflow", "list", "--http", "127.0.0.1:1")
        #expect(node.contains("127.0.0.1:1") && node.contains("FLOTILLA_HTTP"), "\(node)")
    }

    private func descriptions(_ desk: CommandDesk) async throws {
        let text = try await desk.flotilla("workflow", "describe", "first")
        for part in ["status         completed", "acme", "Bonn", "one", "two", "STEP", "OCCURRENCE"] {
            #expect(text.contains(part), "\(text)")
        }
        let value = try await desk.json("workflow", "describe", "first", "--json")
        #expect(value["status"] == "completed" && value["steps"]?.items.map { $0["name"] } == ["one", "two"])
        #expect(try await desk.flotilla("workflow", "result", "first") == "[\"one\",\"two\"]\n")
        let result = try await desk.json("workflow", "result", "first", "--wait", "1s", "--json")
        #expect(result["status"] == "completed" && result["output"] == ["one", "two"])
        for command in ["describe", "result", "history", "follow"] {
            let unknown = try await desk.refused("workflow", command, "nobody")
            #expect(unknown.contains("there is no workflow with the id nobody"), "\(unknown)")
        }
        let versions = try await desk.flotilla("workflow", "versions")
        #expect(versions.contains("sample_words") && versions.contains("1,2,3"), "\(versions)")
        #expect(versions.contains("order_processing") && versions.contains("object.counter"), "\(versions)")
        let known = try await desk.json("workflow", "versions", "--json")
        #expect(known["versions"]?.items.contains { $0["type"] == "sample_words" && $0["version"] == 1 } == true)
    }

    private func lists(_ desk: CommandDesk) async throws {
        for number in 1...4 {
            try await desk.flotilla(
                "workflow", "start", "sample_words", "--id", "waits-\(number)", "--input", #"["signal"]"#,
                "--attributes", "customer=\(number > 2 ? "acme" : "other")")
        }
        func ids(_ value: JSONValue) -> [JSONValue] { value["workflows"]?.items.compactMap { $0["id"] } ?? [] }
        let all = try await desk.json("workflow", "list", "--json")
        #expect(ids(all) == ["first", "wrong", "waits-1", "waits-2", "waits-3", "waits-4"] && all["next"] == .null)
        let acme = try await desk.json("workflow", "list", "--attributes", "customer=acme", "--json")
        #expect(ids(acme) == ["first", "waits-3", "waits-4"])
        let both = try await desk.json(
            "workflow", "list", "--attributes", "customer=acme", "--status", "running", "--json")
        #expect(ids(both) == ["waits-3", "waits-4"])
        let orders = try await desk.json("workflow", "list", "--type", "order_processing", "--json")
        #expect(ids(orders).isEmpty)
        let old = try await desk.json("workflow", "list", "--started-before", "2020-01-01T00:00:00Z", "--json")
        #expect(ids(old).isEmpty)
        let young = try await desk.json("workflow", "list", "--started-from", "2020-01-01T00:00:00Z", "--json")
        #expect(ids(young).count == 6)

        // As somebody reads it: what stands behind "More:" are the words that go on.
        var (shown, rest): ([String], [String]) = ([], [])
        repeat {
            let page = try await desk.run(["workflow", "list", "--limit", "4"] + rest)
            #expect(page.code == .exited(0) && page.output.hasPrefix("ID "), "\(page)")
            let lines = page.output.split(separator: "\n").dropFirst().map(String.init)
            shown += lines.filter { !$0.hasPrefix("More: ") }.map { String($0.split(separator: " ")[0]) }
            rest = lines.last.map {
                $0.hasPrefix("More: ") ? $0.split(separator: " ").dropFirst().map(String.init) : []
            }!
        } while !rest.isEmpty
        #expect(shown == ["first", "wrong", "waits-1", "waits-2", "waits-3", "waits-4"])

        let still = try await desk.refused("workflow", "result", "waits-1", "--wait", "50ms")
        #expect(still.contains("waits-1 is still running"), "\(still)")
        let count = try await desk.json("workflow", "count", "--json")
        #expect(count["count"] == 6 && count["byStatus"]?["running"] == 4 && count["byStatus"]?["failed"] == 1)
        let few = try await desk.flotilla("workflow", "count", "--attributes", "customer=acme")
        #expect(few.contains("running             2\n") && few.contains("all                 3\n"), "\(few)")

        let status = try await desk.refused("workflow", "list", "--status", "asleep")
        #expect(status.contains("status=asleep: there are running"), "\(status)")
        let attribute = try await desk.refused("workflow", "count", "--attributes", "customer", code: 64)
        #expect(attribute.contains("--attributes customer: write NAME=VALUE"), "\(attribute)")
        let moment = try await desk.refused("workflow", "list", "--started-from", "yesterday")
        #expect(moment.contains("yesterday is no moment; write 2026"), "\(moment)")
    }

    private func histories(_ desk: CommandDesk) async throws {
        let text = try await desk.flotilla("workflow", "history", "first")
        #expect(text.contains("status        completed") && text.contains("KIND"), "\(text)")
        #expect(text.contains("step") && text.contains("checkpoint"), "\(text)")
        let page = try await desk.json("workflow", "history", "first", "--limit", "1", "--json")
        #expect(page["events"]?.items.count == 1)
        guard case .string(let next)? = page["next"] else { throw BenchError("the history ends early: \(page)") }
        let rest = try await desk.json("workflow", "history", "first", "--after", next, "--json")
        #expect(rest["events"]?.items.count == 2 && rest["next"] == .null)
        let shown = try await desk.flotilla("workflow", "history", "first", "--limit", "1")
        #expect(shown.hasSuffix("More: --after \(next)\n"), "\(shown)")
        // A document that a replay reads.
        let document = try await desk.flotilla("workflow", "history", "first", "--json")
        let history = try WorkflowHistory(json: Array(document.utf8))
        #expect(history.info.workflowID == "first" && history.info.status == .completed && history.next == nil)
        #expect(history.events.filter { $0.kind == "step" }.map(\.name) == ["one", "two"])
        #expect(
            history.events.filter { $0.kind == "step" }.map(\.value) == [Array("\"one\"".utf8), Array("\"two\"".utf8)])
        let after = try await desk.refused("workflow", "history", "first", "--after", "nowhere")
        #expect(after.contains("nowhere"), "\(after)")
    }

    private func removals(_ desk: CommandDesk) async throws {
        let running = try await desk.refused("workflow", "prune", "waits-1")
        #expect(running.contains("waits-1") && running.contains("running"), "\(running)")
        let nothing = try await desk.refused("workflow", "prune", code: 64)
        #expect(nothing.contains("say which: an ID, or --finished"), "\(nothing)")
        let elsewhere = try await desk.refused("workflow", "prune", "--finished", "--namespace", "elsewhere")
        #expect(elsewhere.contains("elsewhere"), "\(elsewhere)")
        #expect(try await desk.flotilla("workflow", "prune", "wrong") == "wrong is removed.\n")
        #expect(try await desk.refused("workflow", "describe", "wrong").contains("there is no workflow"))
        let young = try await desk.flotilla("workflow", "prune", "--finished", "--older-than", "1h")
        #expect(young == "0 workflows are removed.\n")
        #expect(
            try await desk.flotilla("workflow", "prune", "--finished", "--keep", "1") == "0 workflows are removed.\n")
        #expect(try await desk.flotilla("workflow", "prune", "--finished") == "1 workflows are removed.\n")
        #expect(try await desk.json("workflow", "count", "--json")["count"] == 4)
    }

    @Test("a run is paused, resumed, cancelled and terminated, goes on at the step that failed, and is forked from one")
    func control() async throws {
        try await CommandDesk.with("control") { desk in
            try await desk.start("paused", ["signal"])
            #expect(
                try await desk.flotilla("workflow", "pause", "paused", "--reason", "lunch") == "paused is paused.\n")
            try await desk.wait("paused", says: "is paused: lunch")
            #expect(try await desk.flotilla("workflow", "resume", "paused").hasPrefix("paused is "))
            #expect(
                try await desk.flotilla("workflow", "signal", "paused", "word", "--value", "\"hello\"")
                    == "paused will receive it.\n")
            #expect(try await desk.flotilla("workflow", "result", "paused") == "[\"hello\"]\n")
            let over = try await desk.refused("workflow", "pause", "paused")
            #expect(over.contains("paused") && over.contains("is completed"), "\(over)")

            try await desk.start("cancelled", ["signal"])
            let cancelled = try await desk.flotilla("workflow", "cancel", "cancelled", "--reason", "sold out")
            // The body may have heard of it by then.
            let answers = ["cancelled is running, and is to end.\n", "cancelled is cancelled.\n"]
            #expect(answers.contains(cancelled), "\(cancelled)")
            let end = try await desk.refused("workflow", "result", "cancelled")
            #expect(end.contains("cancelled is cancelled: sold out"), "\(end)")
            #expect(try await desk.flotilla("workflow", "cancel", "cancelled") == "cancelled is cancelled.\n")

            try await desk.start("terminated", ["signal"])
            let terminated = try await desk.json("workflow", "terminate", "terminated", "--reason", "stuck", "--json")
            #expect(terminated["status"] == "terminated")
            let stopped = try await desk.refused("workflow", "result", "terminated", "--wait", "5s")
            #expect(stopped.contains("terminated is terminated: stuck"), "\(stopped)")
            let late = try await desk.refused("workflow", "signal", "terminated", "word")
            #expect(late.contains("terminated"), "\(late)")

            try await retryAndFork(desk)
            for action in ["cancel", "terminate", "pause", "resume", "retry"] {
                let unknown = try await desk.refused("workflow", action, "nobody")
                #expect(unknown.contains("nobody"), "\(unknown)")
                let usage = try await desk.refused("workflow", action, code: 64)
                #expect(usage.contains("ID is missing"), "\(usage)")
            }
        }
    }

    private func retryAndFork(_ desk: CommandDesk) async throws {
        let till = "\(desk.directory)/till"
        try await desk.start("poor", ["step:first", "need:\(till)", "step:last"])
        let failed = try await desk.refused("workflow", "result", "poor")
        #expect(failed.contains("poor failed") && failed.contains("there is no \(till)"), "\(failed)")
        let described = try await desk.flotilla("workflow", "describe", "poor")
        #expect(described.contains("FAILED STEP") && described.contains("there is no"), "\(described)")
        try Data().write(to: URL(filePath: till))
        #expect(try await desk.flotilla("workflow", "retry", "poor").hasPrefix("poor is "))
        #expect(try await desk.json("workflow", "result", "poor") == ["first", .string(till), "last"])
        let again = try await desk.refused("workflow", "retry", "poor")
        #expect(again.contains("poor") && again.contains("is completed"), "\(again)")
        let history = try await desk.json("workflow", "history", "poor", "--json")
        let steps = history["events"]?.items.filter { $0["name"] == "first" } ?? []
        #expect(steps.count == 1, "the step before the one that failed runs once: \(history)")

        let fork = try await desk.flotilla("workflow", "fork", "poor", "--from", "last", "--id", "richer")
        #expect(fork.hasPrefix("Started richer (run ") && fork.hasSuffix(" from poor at last.\n"), "\(fork)")
        #expect(try await desk.json("workflow", "result", "richer") == ["first", .string(till), "last"])
        let richer = try await desk.json("workflow", "describe", "richer", "--json")
        let poor = try await desk.json("workflow", "describe", "poor", "--json")
        #expect(richer["forkedFrom"] == "poor at last#0")
        func recorded(_ run: JSONValue, _ step: String) -> JSONValue? {
            run["steps"]?.items.first { $0["name"] == .string(step) }?["recordedAt"]
        }
        #expect(recorded(richer, "first") == recorded(poor, "first"))
        #expect(recorded(richer, "last") != recorded(poor, "last"))
        let missing = try await desk.refused("workflow", "fork", "poor", code: 64)
        #expect(missing.contains("--from is missing"), "\(missing)")
        let unknown = try await desk.refused("workflow", "fork", "poor", "--from", "nonsense")
        #expect(unknown.contains("nonsense"), "\(unknown)")
    }
}
