import Testing

@testable import FlotillaIO

@Suite("OptionParser")
struct OptionParserTests {
    let command = CommandDescription(
        "tool run", summary: "Runs.", arguments: ["TYPE"],
        options: [
            .value("id", "N", "the id"), .value("input", "JSON", "the input"),
            .flag("wait", "waits"),
        ])

    @Test("values come after a space or an equal sign, and switches alone")
    func values() throws {
        let parsed = try #require(
            try command.parse(["--id", "7", "order", "--input={\"a\":\"b=c\"}", "--wait"]))
        #expect(parsed.string("id") == "7")
        #expect(parsed.string("input") == "{\"a\":\"b=c\"}")
        #expect(parsed.has("wait"))
        #expect(parsed.arguments == ["order"])
    }

    @Test("an option that was not given has no value")
    func missingOption() throws {
        let parsed = try #require(try command.parse(["order"]))
        #expect(parsed.string("id") == nil)
        #expect(!parsed.has("wait"))
    }

    @Test(
        "help is asked for by --help and -h, whatever stands beside it",
        arguments: ["--help", "-h"])
    func help(word: String) throws {
        #expect(try command.parse(["--id", "7", word]) == nil)
    }

    @Test(
        "what cannot be understood is named",
        arguments: [
            (["order", "--nonsense"], "unknown option --nonsense"),
            (["order", "--nonsense=3"], "unknown option --nonsense"),
            (["order", "-x"], "unknown option -x"),
            (["order", "--id"], "--id needs a value: --id N"),
            (["order", "--id", "--wait"], "--id needs a value: --id N"),
            (["order", "--wait=1"], "--wait takes no value"),
            (["order", "--id", "1", "--id", "2"], "--id stands there twice"),
            ([], "TYPE is missing"),
            (["order", "more"], "unexpected argument more"),
        ])
    func errors(words: [String], message: String) {
        #expect(throws: UsageError("tool run", message)) { try command.parse(words) }
    }

    @Test("a lone hyphen is an argument, and so is everything after --")
    func hyphens() throws {
        #expect(try #require(try command.parse(["-"])).arguments == ["-"])
        #expect(try #require(try command.parse(["--", "--wait"])).arguments == ["--wait"])
    }

    @Test("a value may be negative or a hyphen")
    func hyphenValues() throws {
        #expect(try #require(try command.parse(["order", "--id", "-5"])).string("id") == "-5")
        #expect(try #require(try command.parse(["order", "--input", "-"])).string("input") == "-")
    }

    @Test("numbers stand within their range, or the message says which one it is")
    func numbers() throws {
        let parsed = try #require(try command.parse(["order", "--id", "7"]))
        #expect(try parsed.number("id", in: 1...UInt64.max) == 7)
        #expect(throws: UsageError("tool run", "--id 7: not a number from 8 to 9")) {
            try parsed.number("id", in: 8...9)
        }
        let text = try #require(try command.parse(["order", "--id", "seven"]))
        #expect(throws: UsageError("tool run", "--id seven: not a number from 1 to 9")) {
            try text.number("id", in: 1...9)
        }
        #expect(try parsed.number("input", in: 1...9) == nil)
    }

    @Test("the help text has the usage and a line for each option")
    func helpText() {
        #expect(
            command.help == """
                Runs.

                Usage: tool run TYPE [options]

                Options:
                  --id N        the id
                  --input JSON  the input
                  --wait        waits
                  --help        show this text

                """)
    }
}

@Suite("TextTable")
struct TextTableTests {
    @Test("columns are as wide as their widest cell, and numbers stand at the right")
    func alignment() {
        var table = TextTable(["NAME", "COUNT"], rightAligned: [1])
        table.add(["a", "1"])
        table.add(["longer", "100000"])
        #expect(table.text == "NAME     COUNT\na            1\nlonger  100000\n")
    }

    @Test("a header of empty names is not shown, and no line ends with blanks")
    func noHeader() {
        var table = TextTable(["", ""])
        table.add(["ab", "c"])
        table.add(["d", ""])
        #expect(table.text == "ab  c\nd\n")
    }
}

@Suite("WallTime as text")
struct WallTimeTextTests {
    @Test(
        "a moment is written as RFC 3339 and read back",
        arguments: [
            (Int64(0), "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_763_694_492_123_456_000, "2025-11-21T03:08:12.123456Z"),
            (-1_000, "1969-12-31T23:59:59.999999Z"),
            (4_107_542_399_000_000_000, "2100-02-28T23:59:59.000000Z"),
        ])
    func roundTrip(nanoseconds: Int64, text: String) {
        #expect(WallTime(nanoseconds: nanoseconds).rfc3339 == text)
        #expect(WallTime(rfc3339: text)?.nanoseconds == nanoseconds)
    }

    @Test("every day of 800 years comes back, in order")
    func allDays() {
        let day: Int64 = 86_400 * 1_000_000_000
        var last = ""
        for number in stride(from: Int64(-100_000), to: 106_000, by: 1) {
            let time = WallTime(nanoseconds: number * day)
            let text = time.rfc3339
            #expect(WallTime(rfc3339: text) == time)
            #expect(text > last)
            last = text
        }
    }

    @Test(
        "what is no moment is refused",
        arguments: [
            "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2262-04-11T23:47:17Z", "1677-09-21T00:12:43Z",
            "", "2025-11-21", "2025-11-21T03:08:12", "2025-13-21T03:08:12Z", "2025-11-21T24:08:12Z",
            "2025-11-21T03:08:12.Z", "2025-11-21T03:08:12.1234567890Z", "2025-11-21 03:08:12Z",
            "x025-11-21T03:08:12Z",
        ])
    func refused(text: String) { #expect(WallTime(rfc3339: text) == nil) }
}

@Suite("PercentEncoding")
struct PercentEncodingTests {
    @Test("all but the unreserved characters is escaped, byte by byte")
    func encode() {
        #expect(PercentEncoding.encode("order-17_a.b~c") == "order-17_a.b~c")
        #expect(PercentEncoding.encode("a/b c?é") == "a%2Fb%20c%3F%C3%A9")
    }
}
