import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("flotilla node run")
struct NodeRunCommandTests {
    private func configuration(_ words: String) throws -> NodeConfiguration {
        let options = try NodeRunCommand.description.parse(
            words.split(separator: " ").map(String.init))
        return try NodeRunCommand.configuration(try #require(options))
    }

    @Test("the options become a configuration")
    func options() throws {
        let configuration = try configuration(
            "--id 3 --listen 127.0.0.1:7003 --http 127.0.0.1:8003 --data /d --join 127.0.0.1:7001,127.0.0.1:7002"
        )
        #expect(configuration.id == NodeID(3))
        #expect(configuration.listen == "127.0.0.1:7003")
        #expect(configuration.http == "127.0.0.1:8003")
        #expect(configuration.data == .directory("/d"))
        #expect(configuration.join == ["127.0.0.1:7001", "127.0.0.1:7002"])
        #expect(!configuration.founds)
        #expect(!configuration.allowsInsecureListening)
    }

    @Test("--memory and --insecure are taken as they are")
    func switches() throws {
        let configuration = try configuration(
            "--id 1 --listen 0.0.0.0:7001 --memory --bootstrap --insecure")
        #expect(configuration.data == .memory)
        #expect(configuration.join.isEmpty)
        #expect(configuration.founds)
        #expect(configuration.allowsInsecureListening)
    }

    @Test("--keep-finished takes an age, a number, or the word forever")
    func retention() throws {
        let words = "--id 1 --listen a:1 --memory --keep-finished "
        #expect(try configuration(words + "7d").retention == WorkflowRetention(age: .seconds(7 * 86_400), count: nil))
        #expect(try configuration(words + "50").retention == WorkflowRetention(age: nil, count: 50))
        #expect(try configuration(words + "forever").retention == .forever)
        #expect(try configuration("--id 1 --listen a:1 --memory").retention == WorkflowRetention())
    }

    @Test("what the node takes on is taken as it is named")
    func admission() throws {
        let words = "--id 1 --listen a:1 --memory"
        #expect(try configuration(words).admission == AdmissionLimits())
        let given = try configuration(
            words + " --max-running 7 --max-running-of a=1,b=2 --max-requests 3 --max-request-bytes 4 --max-memory 5"
                + " --max-payload 6")
        let limits = given.admission
        #expect(limits.workflows == 7 && limits.workflowsByType == ["a": 1, "b": 2])
        #expect(limits.requests == 3 && limits.requestBytes == 4 && limits.memoryBytes == 5)
        #expect(given.limits.inputBytesMax == 6 && given.limits.resultBytesMax == 6)
        for wrong in [
            "--max-payload 9000000", "--max-memory 0", "--max-running 0", "--max-running-of a", "--max-running-of a=0",
            "--max-running-of a=1,a=2",
        ] {
            #expect(throws: UsageError.self) { try configuration(words + " " + wrong) }
        }
    }

    @Test("the limit for commands in the log is taken, and is 256 KiB without it")
    func payloadFileLimit() throws {
        let words = "--id 1 --listen a:1 --data d"
        #expect(try configuration(words).payloadFileLimit == 256 << 10)
        #expect(try configuration(words + " --payload-file-limit 4096").payloadFileLimit == 4096)
    }

    @Test("where clients connect, and after what silence runs change their node, is taken")
    func clientsAndTimeouts() throws {
        let words = "--id 1 --listen a:1 --data d"
        #expect(try configuration(words + " --executor-timeout 300ms").executorFailureTimeout == .milliseconds(300))
        #expect(try configuration(words + " --clients 127.0.0.1:9").clients == "127.0.0.1:9")
        #expect(try configuration(words).clients == nil)
    }

    @Test("a founder may name nodes to ask first, and a node with data needs neither")
    func foundersAndOthers() throws {
        let founder = try configuration("--id 1 --listen a:1 --memory --bootstrap --join b:1")
        #expect(founder.founds)
        #expect(founder.join == ["b:1"])
        #expect(try !configuration("--id 1 --listen a:1 --data d").founds)
    }

    @Test(
        "what is missing or does not go together is named",
        arguments: [
            ("--listen a:1 --memory --bootstrap", "--id is missing"),
            ("--id 0 --listen a:1 --memory --bootstrap", "--id 0: not a number"),
            ("--id 1 --memory --bootstrap", "--listen is missing"),
            ("--id 1 --listen a:1 --bootstrap", "--data DIR, or --memory"),
            ("--id 1 --listen a:1 --bootstrap --memory --data d", "exclude each other"),
            ("--id 1 --listen a:1 --memory --bootstrap --log-level loud", "--log-level loud"),
            ("--id 1 --listen a:1 --data d --storage paper", "paper is no format"),
            ("--id 1 --listen a:1 --memory --keep-finished soon", "--keep-finished soon"),
            ("--id 1 --listen a:1 --memory --storage log", "exclude each other"),
            ("--id 1 --listen a:1 --memory --executor-timeout 5ms", "--executor-timeout 5ms: write 300ms"),
            ("--id 1 --listen a:1 --data d --payload-file-limit none", "--payload-file-limit none: not a number"),
        ])
    func usage(words: String, message: String) throws {
        let error = #expect(throws: UsageError.self) { try configuration(words) }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
    }
}

@Suite("FlotillaCommand")
struct FlotillaCommandTests {
    @Test(
        "words that cannot be understood end with 64",
        arguments: [
            ["nonsense"], ["node", "nonsense"], ["workflow", "start"], ["status", "--nonsense"],
            ["--nonsense"],
            ["node", "run", "--id", "x"], ["workflow", "start", "t", "--input", "{"],
            ["workflow", "history"], ["workflow", "cancel"], ["workflow", "pause", "a", "b"], ["workflow", "prune"],
            ["workflow", "prune", "a", "--finished"],
            ["workflow", "prune", "a", "--keep", "3"], ["workflow", "prune", "--finished", "--older-than", "soon"],
            ["workflow", "list", "--limit", "many"], ["workflow", "list", "--limit", "1001"],
            ["workflow", "history", "a", "--limit", "0"],
            ["schedule", "backfill", "a", "--to", "2026-11-22T08:00:00Z"],
            ["workflow", "result", "a", "--wait", "soon"], ["node", "remove", "zero"],
            ["storage", "verify"], ["storage", "repair"], ["storage", "migrate", "--from", "a", "--to", "b"],
            ["storage", "migrate", "--from", "a", "--to", "b", "--format", "paper"],
            ["cluster", "describe"], ["cluster", "add", "a"], ["cluster", "create", "--nodes", "1,x"],
            ["node", "drain", "zero"], ["node", "promote"], ["node", "promote", "4", "--demote", "4"],
            ["node", "demote", "2,"], ["policy", "set"], ["policy", "set", "--strategy", "best"],
        ])
    func usage(words: [String]) async {
        #expect(await FlotillaCommand.run(words, workflows: []) == 64)
    }

    @Test("help and version end with 0", arguments: [["--help"], ["-h"], ["help"], [], ["--version"]])
    func help(words: [String]) async {
        #expect(await FlotillaCommand.run(words, workflows: []) == 0)
    }

    @Test("every command and every group of commands has help, which ends with 0 and names its options")
    func helpOfAll() async {
        let subcommands = FlotillaCommand.subcommands(workflows: [])
        #expect(subcommands.count > 50)
        #expect(Set(subcommands.map(\.words)).count == subcommands.count)
        for subcommand in subcommands {
            for help in ["--help", "-h"] {
                #expect(await FlotillaCommand.run(subcommand.words + [help], workflows: []) == 0, "\(subcommand.words)")
            }
            for option in subcommand.description.options {
                #expect(subcommand.description.help.contains("  --\(option.name)"), "\(subcommand.words)")
                #expect(!option.help.isEmpty, "\(subcommand.words) --\(option.name)")
            }
            #expect(!subcommand.description.summary.isEmpty)
            let nonsense = subcommand.words + ["--nonsense"]
            #expect(await FlotillaCommand.run(nonsense, workflows: []) == 64, "\(nonsense)")
        }
        for group in Set(subcommands.filter { $0.words.count > 1 }.map { $0.words[0] }) {
            for words in [[group], [group, "--help"], [group, "-h"]] {
                #expect(await FlotillaCommand.run(words, workflows: []) == 0, "\(words)")
            }
            #expect(await FlotillaCommand.run([group, "nonsense"], workflows: []) == 64, "\(group)")
        }
    }

    @Test("a node that does not answer ends with 1")
    func unreachable() async {
        #expect(await FlotillaCommand.run(["status", "--http", "127.0.0.1:1"], workflows: []) == 1)
    }
}

@Suite("LogLines")
struct LogLinesTests {
    @Test(
        "a message is one line with time, level and pairs, and values with blanks stand in quotes")
    func line() {
        let line = LogLines.line(
            time: WallTime(nanoseconds: 0), level: .warning, message: "two\nlines",
            metadata: [("group", "2"), ("reason", "no \"disk\" left"), ("empty", "")])
        #expect(
            line
                == "1970-01-01T00:00:00.000000Z WARNING two | lines group=2"
                + " reason=\"no \\\"disk\\\" left\" empty=\"\"\n"
        )
    }

    @Test("levels are named as in the code")
    func levels() {
        #expect(LogLines.level(named: "debug") == .debug)
        #expect(LogLines.level(named: "loud") == nil)
    }
}

@Suite("ClientTables")
struct ClientTablesTests {
    @Test("a list shows a row for each workflow and how to go on")
    func list() throws {
        let page = try JSONValue(
            parsing: Array(
                (#"{"workflows":[{"id":"a","type":"t","version":1,"status":"running","owner":2,"#
                    + #""startedAt":"now"}],"next":"a"}"#).utf8))
        #expect(
            ClientTables.list(page) == """
                ID  TYPE  VERSION  STATUS   OWNER  STARTED  FINISHED
                a   t     1        running  2      now
                More: --after a

                """)
    }

    @Test("a history shows a row for each event, with the duration of a step and the end of a sleep")
    func history() throws {
        let history = try JSONValue(
            parsing: Array(
                (#"{"workflow":{"id":"a","status":"running","inputBytes":3},"next":"p","events":["#
                    + #"{"kind":"step","name":"s","occurrence":0,"time":"t","owner":2,"attempt":1,"#
                    + #""durationNanoseconds":12034567,"bytes":5},"#
                    + #"{"kind":"sleep","name":"z","occurrence":1,"time":"u","deadline":"v"}]}"#).utf8))
        #expect(
            ClientTables.history(history) == """
                id           a
                input bytes  3
                status       running

                TIME  KIND   NAME  OCCURRENCE  OWNER  ATTEMPT   DURATION  BYTES
                t     step   s              0      2        1  12.034 ms      5
                u     sleep  z              1                    until v
                More: --after p

                """)
    }

    @Test("a description shows the facts that there are, and cuts long values")
    func description() throws {
        let long = String(repeating: "x", count: 100)
        let text = ClientTables.description(
            .object([
                "id": .string("a"), "status": .string("failed"), "input": .string(long),
                "failure": .object(["type": .string("T"), "message": .string("m")]),
                "steps": .array([]),
            ]))
        #expect(text.contains("failure  T: m\n"))
        #expect(text.contains(String(repeating: "x", count: 57) + "...\n"))
        #expect(!text.contains("output"))
    }
}
