import Testing

@testable import FlotillaBenchmarks

@Suite("DemoReport")
struct DemoReportTests {
    /// An order whose steps were recorded at 100, 200, ... nanoseconds, with the lines of its effects.
    private func order(_ id: String, process: Int32 = 1) -> (OrderOutcome, [LedgerLine]) {
        let steps = DemoReport.steps.enumerated().map { number, name in
            OrderOutcome.Step(name: name, recordedAt: Int64(number + 1) * 100)
        }
        let lines = steps.map { step in
            LedgerLine(
                order: id, step: step.name, key: "\(id)/\(step.name)", token: 1, process: process,
                at: step.recordedAt - 50)
        }
        let outcome = OrderOutcome(
            order: id, status: "completed", fault: nil, steps: steps, completedAt: 600)
        return (outcome, lines)
    }

    @Test("orders that went through once pass")
    func clean() {
        let (one, two) = (order("a"), order("b"))
        let report = DemoReport(
            ledger: Ledger(lines: one.1 + two.1), outcomes: [one.0, two.0], kills: [])
        #expect(report.passed)
        #expect(report.ordersDone == 2)
        #expect(report.stepsRecorded == 10)
        #expect(report.repeatedAtKill == 0)
        #expect(report.repeatedElsewhere == 0)
    }

    @Test("an order that no node knows is lost", arguments: [nil, "running", "failed"])
    func lost(status: String?) {
        var (outcome, lines) = order("a")
        outcome.status = status
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [])
        lines = []
        #expect(!report.passed)
        #expect(report.lost.count == 1)
        #expect(report.ordersDone == 0)
    }

    @Test("a step that is recorded twice fails the run")
    func recordedTwice() {
        var (outcome, lines) = order("a")
        outcome.steps.append(OrderOutcome.Step(name: "charge", recordedAt: 700))
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [])
        lines = []
        #expect(!report.passed)
        #expect(report.recordedTwice == ["a/charge (2 times)"])
    }

    @Test("a step that is not recorded, or left no effect, fails the run")
    func missingStep() {
        let (outcome, lines) = order("a")
        var short = outcome
        short.steps.removeAll { $0.name == "ship" }
        #expect(!DemoReport(ledger: Ledger(lines: lines), outcomes: [short], kills: []).passed)
        let fewer = lines.filter { $0.step != "ship" }
        #expect(!DemoReport(ledger: Ledger(lines: fewer), outcomes: [outcome], kills: []).passed)
    }

    @Test("a wrong receipt fails the run")
    func wrongReceipt() {
        var (outcome, lines) = order("a")
        outcome.fault = "its receipt is for 3 cents"
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [])
        lines = []
        #expect(!report.passed)
        #expect(report.faults == ["a: its receipt is for 3 cents"])
    }

    @Test("a step that was in flight at a kill may run again under a higher token")
    func repeatedAtKill() {
        var (outcome, lines) = order("a", process: 1)
        lines.append(
            LedgerLine(order: "a", step: "charge", key: "a/charge", token: 2, process: 2, at: 900))
        let kill = Kill(node: 1, process: 1, at: 160, orphans: ["a"])
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [kill])
        outcome.steps = []
        #expect(report.passed)
        #expect(report.repeatedAtKill == 1)
        #expect(report.repeatedElsewhere == 0)
    }

    @Test("a repetition by an owner that nobody killed is counted apart")
    func repeatedElsewhere() {
        var (outcome, lines) = order("a", process: 1)
        lines.append(
            LedgerLine(order: "a", step: "charge", key: "a/charge", token: 2, process: 2, at: 900))
        let kill = Kill(node: 3, process: 3, at: 160, orphans: [])
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [kill])
        outcome.steps = []
        #expect(report.repeatedAtKill == 0)
        #expect(report.repeatedElsewhere == 1)
    }

    @Test(
        "a repetition under the same token, or with another key, fails the run",
        arguments: [(1, "a/charge"), (2, "b")])
    func badRepetition(token: UInt64, key: String) {
        var (outcome, lines) = order("a", process: 1)
        lines.append(
            LedgerLine(order: "a", step: "charge", key: key, token: token, process: 2, at: 900))
        let kill = Kill(node: 1, process: 1, at: 160, orphans: ["a"])
        let report = DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: [kill])
        outcome.steps = []
        #expect(!report.passed)
        #expect(report.faults.count == 1)
    }

    @Test("recovery is measured to the first record after the kill, of orphans that had one")
    func recoveries() {
        let (one, oneLines) = order("a")
        var (two, twoLines) = order("b")
        two.steps = two.steps.map {
            OrderOutcome.Step(name: $0.name, recordedAt: $0.recordedAt / 10)
        }
        two.completedAt = 90
        let (three, threeLines) = order("c")
        let kill = Kill(node: 1, process: 1, at: 250, orphans: ["a", "b"])
        let late = Kill(node: 1, process: 1, at: 550, orphans: ["a"])
        let report = DemoReport(
            ledger: Ledger(lines: oneLines + twoLines + threeLines), outcomes: [one, two, three],
            kills: [kill, late])
        twoLines = []
        #expect(report.recoveries == [[.nanoseconds(50)], [.nanoseconds(50)]])
    }

    @Test("the table says what was lost")
    func table() {
        var (outcome, lines) = order("a")
        outcome.status = nil
        let text = DemoTable.text(
            DemoReport(ledger: Ledger(lines: lines), outcomes: [outcome], kills: []))
        lines = []
        #expect(text.contains("a (unknown to the nodes)"))
        #expect(text.contains("Failed."))
    }
}

@Suite("Ledger and orders")
struct LedgerTests {
    @Test("a ledger is read line by line, and a damaged line is named")
    func ledger() throws {
        let line = #"{"order":"a","step":"charge","key":"k","token":3,"process":7,"at":12}"#
        let ledger = try Ledger(text: line + "\n" + line + "\n")
        #expect(ledger.lines.count == 2)
        #expect(ledger.lines[0].token == 3)
        #expect(throws: BenchError.self) { try Ledger(text: line + "\n{\"order\":") }
    }

    @Test("the orders in the repository are 300 with ids of their own")
    func ordersFile() throws {
        let path =
            #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
            + "/Benchmarks/orders.jsonl"
        let orders = try Order.read(try readText(path), from: path)
        #expect(orders.count == 300)
        #expect(orders.allSatisfy { $0.totalCents > 0 })
    }

    @Test(
        "a file that is no list of orders is refused",
        arguments: ["", "nonsense", #"{"order":"a"}"#])
    func refused(text: String) {
        #expect(throws: BenchError.self) { try Order.read(text, from: "file") }
    }

    @Test("an order that stands there twice is refused by name")
    func twice() {
        let line = #"{"order":"a","items":[{"quantity":2,"priceCents":5}]}"#
        #expect(throws: BenchError("file, line 2: the order a stands there twice")) {
            try Order.read(line + "\n" + line, from: "file")
        }
    }

    @Test(
        "the waves of the demo are equal parts that leave nothing out",
        arguments: [1, 2, 3, 10, 300])
    func waves(count: Int) {
        let waves = Demo.waveBounds(of: count)
        #expect(waves.flatMap { Array($0) } == Array(0..<count))
    }
}
