import Flotilla
import Testing

@testable import FlotillaBenchmarks

/// Every `flotilla schedule` command, with the runs that it starts.
@Suite("flotilla schedule", .timeLimit(.minutes(4)))
struct ScheduleCommandTests {
    private static var isPaused: Regex<Substring> { #/paused +true\n/# }

    @Test(
        "a schedule is created, shown, paused, resumed, fired by hand and for times that are over, replaced and deleted"
    )
    func schedules() async throws {
        try await CommandDesk.with("schedules") { desk in
            let made = try await desk.flotilla(
                "schedule", "create", "report", "sample_words", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin",
                "--overlap", "allow", "--input", #"["step:report"]"#, "--attributes", "kind=report")
            #expect(made.contains("report") && made.contains("30 2 * * * (Europe/Berlin)"), "\(made)")
            #expect(made.split(separator: "\n").count { $0.hasPrefix("next") } == 5, "\(made)")
            try await mistakes(desk)
            try await pauses(desk)
            try await firings(desk)
            let replaced = try await desk.json(
                "schedule", "replace", "report", "sample_words", "--every", "7200", "--input", "[]", "--json")
            #expect(replaced["everySeconds"] == 7_200 && replaced["cron"] == nil && replaced["input"] == [])
            #expect(try await desk.flotilla("schedule", "list").contains("every 7200 s"))
            #expect(try await desk.flotilla("schedule", "delete", "report") == "report is deleted.\n")
            #expect(try await desk.json("schedule", "list", "--json")["schedules"] == [])
            // What it has started goes on.
            #expect(try await desk.json("workflow", "count", "--attributes", "kind=report", "--json")["count"] == 3)
        }
    }

    private func mistakes(_ desk: CommandDesk) async throws {
        let again = try await desk.refused("schedule", "create", "report", "sample_words", "--every", "60")
        #expect(again.contains("report"), "\(again)")
        let cron = try await desk.refused("schedule", "create", "bad", "sample_words", "--cron", "61 * * * *")
        #expect(cron.contains("61"), "\(cron)")
        let zone = try await desk.refused(
            "schedule", "create", "bad", "sample_words", "--cron", "@daily", "--time-zone", "Mars/Olympus")
        #expect(zone.contains("there is no time zone 'Mars/Olympus'; write it like Europe/Berlin"), "\(zone)")
        let neither = try await desk.refused("schedule", "create", "bad", "sample_words")
        #expect(neither.contains("either a cron expression or an interval"), "\(neither)")
        let overlap = try await desk.refused(
            "schedule", "create", "bad", "sample_words", "--every", "60", "--overlap", "never")
        #expect(overlap.contains("overlap never: there are skip, queue, cancel, allow"), "\(overlap)")
        let number = try await desk.refused("schedule", "create", "bad", "sample_words", "--every", "soon", code: 64)
        #expect(number.contains("--every soon: not a number"), "\(number)")
        let type = try await desk.refused("schedule", "create", "bad", code: 64)
        #expect(type.contains("TYPE is missing") && type.contains("schedule create --help"), "\(type)")
        for words in [["describe"], ["pause"], ["resume"], ["trigger"], ["delete"], ["replace", "sample_words"]] {
            var command = ["schedule", words[0], "nobody"] + words.dropFirst()
            if words[0] == "replace" { command += ["--every", "60"] }
            let unknown = try await desk.run(command)
            #expect(unknown.code == .exited(1) && unknown.errors.contains("nobody"), "\(command): \(unknown)")
        }
    }

    private func pauses(_ desk: CommandDesk) async throws {
        let paused = try await desk.flotilla("schedule", "pause", "report", "--note", "holidays")
        #expect(paused.contains(Self.isPaused) && paused.contains("holidays"), "\(paused)")
        let list = try await desk.flotilla("schedule", "list")
        #expect(list.contains("report") && list.contains("paused"), "\(list)")
        let described = try await desk.json("schedule", "describe", "report", "--json")
        #expect(described["paused"] == true && described["note"] == "holidays" && described["next"] == [])
        let resumed = try await desk.json("schedule", "resume", "report", "--json")
        #expect(resumed["paused"] == false && resumed["note"] == nil && resumed["next"]?.items.count == 5)
        let asleep = try await desk.flotilla(
            "schedule", "create", "asleep", "sample_words", "--every", "1", "--paused", "--input", "[]")
        #expect(asleep.contains("every 1 s") && asleep.contains(Self.isPaused), "\(asleep)")
        #expect(try await desk.flotilla("schedule", "delete", "asleep") == "asleep is deleted.\n")
    }

    private func firings(_ desk: CommandDesk) async throws {
        let triggered = try await desk.json("schedule", "trigger", "report", "--json")
        #expect(triggered["fired"] == 1)
        let firing = try #require(triggered["recent"]?.items.first)
        guard case .string(let id)? = firing["workflow"] else { throw BenchError("no workflow was started") }
        #expect(id.hasPrefix("report@20"))
        #expect(try await desk.json("workflow", "result", id) == ["report"])
        // Half past two in Berlin is half past one in UTC, in winter.
        let backfilled = try await desk.json(
            "schedule", "backfill", "report", "--from", "2026-01-10T00:00:00Z", "--to", "2026-01-12T00:00:00Z", "--json"
        )
        #expect(backfilled["fired"] == 3)
        for day in [10, 11] {
            #expect(try await desk.json("workflow", "result", "report@2026-01-\(day)T01:30:00Z") == ["report"])
        }
        let described = try await desk.flotilla("schedule", "describe", "report")
        #expect(described.contains("report@2026-01-11T01:30:00Z"), "\(described)")
        let listed = try await desk.json("workflow", "list", "--attributes", "kind=report", "--json")
        #expect(listed["workflows"]?.items.count == 3)
        let moment = try await desk.refused("schedule", "backfill", "report", "--from", "yesterday", "--to", "today")
        #expect(moment.contains("from is no moment; write \"2026-11-22T08:00:00Z\""), "\(moment)")
        let large = try await desk.refused(
            "schedule", "backfill", "report", "--from", "1990-01-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z")
        #expect(large.contains("backfill a part of it"), "\(large)")
    }
}
