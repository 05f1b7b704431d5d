import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Messages to runs, in the state", .timeLimit(.minutes(5)))
struct MessageStateTests {
    private static let box = Mailbox(.signal, "s")

    private static func sending(
        _ value: String, from sender: String = "x", _ number: UInt64 = 1, to id: String = "a", box: Mailbox = box
    ) -> WorkflowOperation {
        .message(
            .send(
                .init(workflowID: id, runID: nil, box: box, value: Array(value.utf8), sender: sender, number: number)))
    }

    private static func take(_ ask: UInt64, isDue: Bool = false, box: Mailbox = box) -> WorkflowOperation {
        .message(.take(Bench.address("a"), ask: StepKey(box.text.text, ask), isDue: isDue))
    }

    private func bench() throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        return bench
    }

    private func restored(_ bench: Bench) throws -> WorkflowStateMachine {
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        return restored
    }

    @Test(
        "whatever is sent, repeated and received, by however many owners: each acknowledged message is received once, in order"
    )
    func property() throws {
        for seed in Simulation.seeds(40) {
            var random = SeededGenerator(seed: seed)
            var bench = try bench()
            var (accepted, received): ([String], [String]) = ([], [])
            var numbers: [UInt64] = [0, 0, 0]
            var (epoch, asks, executors) = (UInt64(1), UInt64(0), UInt64(1))
            for step in 0..<200 {
                bench.time += 10
                switch random.next() % 10 {
                case 0...4:
                    let sender = Int(random.next() % 3)
                    // Repetitions, the next one, and now and then one that comes too early.
                    let number = max(1, numbers[sender] + random.next() % 4) - (numbers[sender] > 1 ? 1 : 0)
                    let value = "\"\(sender)/\(number)\""
                    let answer = try bench.apply([Self.sending(value, from: "s\(sender)", number)])
                    if number == numbers[sender] + 1 {
                        #expect(answer.result?.wasDone == false, "seed \(seed), step \(step)")
                        numbers[sender] = number
                        accepted.append(value)
                    } else if number <= numbers[sender] {
                        #expect(answer.result?.wasDone == true, "seed \(seed), step \(step)")
                    } else {
                        #expect(answer.refusal == .messageOutOfOrder, "seed \(seed), step \(step)")
                    }
                case 5...7:
                    let answer = try bench.apply([Self.take(asks)], epoch: epoch)
                    guard let receipt = answer.result?.messages?.receipt else {
                        #expect(received.count == accepted.count, "seed \(seed), step \(step)")
                        continue
                    }
                    // An owner that did not hear of it asks again.
                    if random.next() % 2 == 0 {
                        let again = try bench.apply([Self.take(asks)], epoch: epoch).result
                        #expect(again?.wasDone == true && again?.messages?.receipt == receipt)
                    }
                    if case .message(_, .value(let value), _) = receipt {
                        received.append(String(decoding: value, as: UTF8.self))
                    }
                    asks += 1
                case 8:
                    executors += 1
                    try bench.apply([Bench.register(1, boot: executors)])
                    epoch += 1
                    #expect(try bench.apply([Self.take(asks)], epoch: epoch - 1).refusal == .staleOwner)
                default: #expect(try restored(bench).stateHash == bench.machine.stateHash, "seed \(seed)")
                }
            }
            while let receipt = try bench.apply([Self.take(asks)], epoch: epoch).result?.messages?.receipt {
                if case .message(_, .value(let value), _) = receipt {
                    received.append(String(decoding: value, as: UTF8.self))
                }
                asks += 1
            }
            #expect(received == accepted && !received.isEmpty, "seed \(seed)")
            let messages = try #require(bench.machine.run("a")?.messages)
            #expect(messages.waitingCount == 0 && messages.waitingBytes == 0)
            let twin = try #require(try restored(bench).run("a")?.messages)
            #expect(twin.metCount == messages.metCount && twin.recordCount == messages.recordCount)
        }
    }

    @Test("a run that cannot take more says so, takes more once it has received some, and nothing changes meanwhile")
    func limits() throws {
        var bench = try bench()
        for number in 1...UInt64(WorkflowLimits.waitingMessagesMax) { try bench.apply([Self.sending("1", number)]) }
        let next = UInt64(WorkflowLimits.waitingMessagesMax) + 1
        let hash = bench.machine.stateHash
        #expect(try bench.apply([Self.sending("1", next)]).refusal == .mailboxFull)
        #expect(bench.machine.stateHash == hash)
        try bench.apply([Self.take(0)], epoch: 1)
        #expect(try bench.apply([Self.sending("1", next)]).refusal == nil)

        var large = try self.bench()
        let value = String(repeating: "1", count: WorkflowLimits.messageBytesMax)
        for number in 1...16 as ClosedRange<UInt64> {
            #expect(try large.apply([Self.sending(value, number)]).refusal == nil)
        }
        #expect(try large.apply([Self.sending("1", 17)]).refusal == .mailboxFull)
        #expect(try restored(large).run("a")?.messages?.waitingBytes == WorkflowLimits.waitingMessageBytesMax)
    }

    @Test("a message waits for a run that is parked or paused, and is refused by one that has ended or is not there")
    func statuses() throws {
        var bench = try bench()
        try bench.apply([.controlRun(workflowID: "a", .pause, reason: "")])
        #expect(try bench.apply([Self.sending("1", 1)]).refusal == nil)
        try bench.apply([.controlRun(workflowID: "a", .resume, reason: "")])
        try bench.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        #expect(try bench.apply([Self.sending("2", 2)]).refusal == nil)
        try bench.apply([.controlRun(workflowID: "a", .terminate, reason: "")])
        #expect(try bench.apply([Self.sending("3", 3)]).refusal == .wrongState)
        #expect(try bench.apply([Self.sending("2", 2)]).result?.wasDone == true)
        #expect(try bench.apply([Self.sending("9", 2)]).refusal == .conflict)
        #expect(try bench.apply([Self.sending("1", 1, to: "b")]).refusal == .noSuchRun)
        #expect(bench.machine.state.check() == nil)
    }

    @Test(
        "an ask's time begins once, ends it only when it is over, and a message that came first is received all the same"
    )
    func timeLimit() throws {
        var bench = try bench()
        let (address, ask) = (Bench.address("a"), StepKey(Self.box.text.text, 0))
        let deadline = try bench.apply([.message(.limit(address, ask: ask, 100))], epoch: 1).result?.deadline
        bench.time += 50
        #expect(try bench.apply([.message(.limit(address, ask: ask, 100))], epoch: 1).result?.deadline == deadline)
        #expect(try bench.apply([Self.take(0, isDue: true)], epoch: 1).refusal == .notYet)
        bench.time += 50
        #expect(try bench.apply([Self.take(0, isDue: true)], epoch: 1).result?.messages?.receipt == .timedOut)
        try bench.apply([Self.sending("1", 1)])
        #expect(try bench.apply([Self.take(0, isDue: true)], epoch: 1).result?.messages?.receipt == .timedOut)
        let second = try bench.apply([Self.take(1, isDue: true)], epoch: 1).result?.messages?.receipt
        #expect(second == .message(0, .value(Array("1".utf8)), sender: "x"))
        #expect(try restored(bench).stateHash == bench.machine.stateHash)
    }

    @Test("an update is answered once, by whoever received it, and its id finds the answer")
    func updates() throws {
        var bench = try bench()
        let box = Mailbox(.update, "u")
        let (address, message) = (Bench.address("a"), StepKey(box.text.text, 0))
        try bench.apply([Self.sending("1", from: "id", 1, box: box)])
        let reply = WorkflowOperation.message(.reply(address, message, .value([1])))
        #expect(try bench.apply([reply], epoch: 1).refusal == .noSuchMessage)
        try bench.apply([Self.take(0, box: box)], epoch: 1)
        #expect(try bench.apply([reply], epoch: 0).refusal == .staleOwner)
        #expect(try bench.apply([reply], epoch: 1).result?.wasDone == false)
        let other = WorkflowOperation.message(.reply(address, message, .failure(.init(type: "T", message: "m"))))
        #expect(try bench.apply([other], epoch: 1).result?.wasDone == true)
        #expect(bench.machine.run("a")?.messages?.messages[message]?.reply?.content == .value([1]))
        #expect(try bench.apply([Self.sending("1", from: "id", 1, box: box)]).result?.messages?.message == message)
        // A signal of the same sender is another thing.
        #expect(try bench.apply([Self.sending("1", from: "id", 1)]).result?.wasDone == false)
    }

    @Test("an awakeable is completed once, by whoever knows its secret, and every wait finds the same")
    func awakeables() throws {
        var bench = try bench()
        let (address, key) = (Bench.address("a"), StepKey("approval", 0))
        let create = WorkflowOperation.message(.createAwakeable(address, key, secret: [1, 2]))
        #expect(try bench.apply([create], epoch: 1).result?.recordedValue == nil)
        let again = WorkflowOperation.message(.createAwakeable(address, key, secret: [3, 4]))
        #expect(try bench.apply([again], epoch: 1).result?.recordedValue == [1, 2])
        func complete(_ secret: [UInt8], _ content: MessageContent, run: UInt64 = 1) throws -> WorkflowAnswer {
            try bench.apply([.message(.complete(Bench.address("a", run: run), key, secret: secret, content))])
        }
        #expect(try complete([3, 4], .value([5])).refusal == .wrongToken)
        #expect(try complete([1, 2], .value([5]), run: 2).refusal == .wrongToken)
        #expect(try complete([1, 2], .value([5])).result?.wasDone == false)
        #expect(try complete([1, 2], .value([5])).result?.wasDone == true)
        #expect(try complete([1, 2], .failure(.init(type: "", message: ""))).refusal == .alreadyCompleted)
        let box = Mailbox(awakeable: key)
        for ask in 0...2 as ClosedRange<UInt64> {
            let receipt = try bench.apply([Self.take(ask, box: box)], epoch: 1).result?.messages?.receipt
            #expect(receipt == .message(0, .value([5]), sender: ""))
        }
        #expect(try restored(bench).stateHash == bench.machine.stateHash)
        #expect(bench.machine.run("a")?.messages?.waitingCount == 0)
    }

    @Test("every operation on messages comes out of its encoding as it went in, and so do answers and tokens")
    func encoding() throws {
        let (address, key) = (Bench.address("a"), StepKey("signal/s", 3))
        let failure = WorkflowFailure(type: "T", message: "m")
        let operations: [WorkflowOperation] = [
            Self.sending(""), Self.sending("1", from: "", 0), .message(.limit(address, ask: key, -5)),
            .message(
                .send(
                    .init(
                        workflowID: "b", runID: address.runID, box: Mailbox(.update, "a/b"), value: [1], sender: "s",
                        number: 7))),
            Self.take(7), Self.take(0, isDue: true), .message(.reply(address, key, .value([]))),
            .message(.reply(address, key, .failure(failure))),
            .message(.createAwakeable(address, key, secret: [1, 2, 3])),
            .message(.complete(address, key, secret: [], .value([4]))),
            .message(.complete(address, key, secret: [9], .failure(failure))),
        ]
        for operation in operations { #expect(try WorkflowOperation(operation.encoded) == operation) }
        let receipts: [MessageReceipt?] = [
            nil, .timedOut, .message(0, .value([]), sender: ""), .message(7, .failure(failure), sender: "s"),
        ]
        for receipt in receipts {
            var result = OperationResult()
            result.messages = MessageResult(message: key, receipt: receipt)
            #expect(try WorkflowAnswer(WorkflowAnswer.applied([result]).encoded) == .applied([result]))
        }
        for length in 0...20 {
            let token = AwakeableToken(
                group: GroupID(7), run: address, awakeable: key, secret: (0..<length).map { UInt8($0 * 13) })
            #expect(AwakeableToken(token.text) == token)
            #expect(AwakeableToken(token.text + "A") != token && AwakeableToken(String(token.text.dropLast())) != token)
            #expect(PercentEncoding.encode(token.text) == token.text)
        }
        for text in ["", "awk_", "awk_!", "x", "awk_AAAA"] { #expect(AwakeableToken(text) == nil) }
    }
}
