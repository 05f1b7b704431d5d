import Testing

@Suite struct ScenarioFileTests {
    private func parse(_ text: String) throws -> [ScenarioFile.Directive] {
        try ScenarioFile(name: "a.txt", text: text).directives
    }

    @Test("arguments are bare, have one value, or several")
    func arguments() throws {
        let directives = try parse("go 1 a=b c=(d, e) f=() g=(1,\n  2) \\\n h\nin\nput\n----\nout\n")
        let directive = try #require(directives.first)
        #expect(directive.command == "go")
        #expect(
            directive.arguments == [
                .init(key: "1", values: []), .init(key: "a", values: ["b"]), .init(key: "c", values: ["d", "e"]),
                .init(key: "f", values: []), .init(key: "g", values: ["1", "2"]), .init(key: "h", values: []),
            ])
        #expect(directive.input == ["in", "put"])
        #expect(directive.expected == ["out"])
        #expect(directive.line == 1)
    }

    @Test("output ends at a blank line, or where it is fenced, at the fence")
    func output() throws {
        let directives = try parse("# what\na\n----\n1\n2\n\n\nb\n----\n----\n1\n\n2\n----\n----\n\nc\n----\n")
        #expect(directives.map(\.command) == ["a", "b", "c"])
        #expect(directives.map(\.expected) == [["1", "2"], ["1", "", "2"], []])
        #expect(directives.map(\.line) == [2, 8, 17])
    }

    @Test(
        "a malformed file is refused by name and line",
        arguments: [
            ("a\n----\n\nb\nc", "a.txt:4: no '----' follows the directive 'b'"),
            ("a b=(c\n----\n", "a.txt:1: the directive 'a b=(c' is not finished; is a ')' missing?"),
            ("\na =b\n----\n", "a.txt:2: '=b' in 'a =b' has no key"),
            ("a\n----\n----\nx", "a.txt:1: the output of 'a' is not closed by '----' twice"),
        ])
    func malformed(text: String, problem: String) throws {
        let error = #expect(throws: ScenarioError.self) { try parse(text) }
        #expect(error?.description == problem)
    }

    @Test("a difference costs lines in the modes that it concerns, and is shown with file, line and directive")
    func scores() throws {
        let text = """
            add-nodes 1 voters=(1) index=3
            ----
            INFO 1 switched to configuration voters=(9)

            raft-state
            ----
            1: StateLeader (Voter) Term:0 Lead:0

            campaign 2
            ----
            ok
            """
        let runner = ScenarioRunner(try ScenarioFile(name: "a.txt", text: text))
        #expect(runner.meaning == .init(lines: 3, equalLines: 1))
        #expect(runner.letter.lines == 3 && runner.letter.equalLines == 0)
        #expect(runner.letterDifferences.count == 1)
        #expect(runner.meaningDifferences.count == 2)
        #expect(
            runner.meaningDifferences.first == """
                a.txt:5: raft-state
                  (- expected, + actual)
                  - 1: StateLeader (Voter) Term:0 Lead:0
                  + 1: StateFollower (Voter) Term:0 Lead:0

                """)
        #expect(runner.meaningDifferences.last?.contains("there is no node 2") == true)
    }
}
