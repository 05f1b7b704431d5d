import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("What the engine remembers", .timeLimit(.minutes(5)))
struct EngineStateTests {
    @Test("an inbox that is full is emptied, and all assignments are read from the state instead")
    func overflow() {
        var state = EngineState()
        for number in 0..<WorkflowLimits.assignmentInboxMax {
            state.receive(Assignment(key: RunKey("default", "\(number)"), epoch: 1))
        }
        #expect(!state.mustReadAll)
        #expect(state.inbox.count == WorkflowLimits.assignmentInboxMax)
        state.receive(Assignment(key: RunKey("default", "one more"), epoch: 1))
        #expect(state.mustReadAll && state.inbox.isEmpty)
        let (assignments, mustReadAll) = state.takeInbox()
        #expect(assignments.isEmpty && mustReadAll && !state.mustReadAll)
    }

    @Test(
        "of runs that come with many others those wait for which there is no room; a new run does not, nor one that is told"
    )
    func room() {
        func assignment(_ number: Int, epoch: UInt64 = 2) -> Assignment {
            Assignment(key: RunKey("default", "\(number)"), epoch: epoch)
        }
        func begin(_ state: inout EngineState) -> [Assignment] {
            let taken = state.takeInbox().assignments
            for assignment in taken { _ = state.begin(assignment) }
            return taken
        }
        var state = EngineState(bodiesMax: 2)
        var (begun, hasTurns): ([Assignment], Bool)
        for number in 0..<7 { state.receive(assignment(number), waitsForRoom: true) }
        begun = begin(&state)
        #expect(begun == [assignment(0), assignment(1)])
        state.receive(assignment(9, epoch: 1))
        state.touch(assignment(5).key, epoch: 2)
        begun = begin(&state)
        #expect(begun == [assignment(5), assignment(9, epoch: 1)])
        // Another change of a run that waits, such as a request to end.
        state.receive(assignment(4), waitsForRoom: true)
        begun = begin(&state)
        #expect(begun == [assignment(4)])
        state.end(assignment(4))
        // There is no room until three have ended; a few begin all the same, a quarter of a second later.
        var now = MonotonicTime(nanoseconds: 0)
        hasTurns = state.takeTurns(now, limit: 500)
        #expect(!hasTurns)
        for ended in [assignment(0), assignment(5), assignment(9, epoch: 1)] { state.end(ended) }
        hasTurns = state.takeTurns(now, limit: 500)
        #expect(hasTurns)
        begun = begin(&state)
        #expect(begun == [assignment(2)])
        hasTurns = state.takeTurns(now, limit: 500)
        #expect(!hasTurns)
        now = now.advanced(by: .milliseconds(250))
        // Its run has another owner by now.
        state.forget(assignment(6).key)
        hasTurns = state.takeTurns(now, limit: 500)
        #expect(hasTurns)
        begun = begin(&state)
        #expect(begun == [assignment(3)])
        hasTurns = state.takeTurns(now, limit: 500)
        #expect(!hasTurns && !state.resting.hasPutOff)
        // All of the node's, some of which run: those that are left wait.
        let all = state.takeRoom(for: (0..<12).map { assignment($0) })
        #expect(all.isEmpty && state.resting.count == 9)
    }

    @Test("an assignment begins once, and a higher epoch stops the one before")
    func epochs() throws {
        var state = EngineState()
        let key = RunKey("default", "a")
        let begun = state.begin(Assignment(key: key, epoch: 2))
        let first = try #require(begun)
        #expect(first.previous == nil)
        let repeated = [
            state.begin(Assignment(key: key, epoch: 2)),
            state.begin(Assignment(key: key, epoch: 1)),
        ]
        #expect(repeated.allSatisfy { $0 == nil })
        state.receive(Assignment(key: key, epoch: 2))
        #expect(state.inbox.isEmpty)
        let taken = state.begin(Assignment(key: key, epoch: 3))
        let second = try #require(taken)
        #expect(second.previous?.id == first.stop.id)
        // The end of the earlier one does not end the later one.
        state.end(Assignment(key: key, epoch: 2))
        #expect(state.running[key]?.epoch == 3)
        state.end(Assignment(key: key, epoch: 3))
        #expect(state.running.isEmpty)
    }

    @Test(
        "a state that a snapshot replaced is read whole: new runs begin, lost ones stop, waiters hear"
    )
    func restored() async throws {
        try await withCluster { cluster in
            let ledger = Ledger()
            let workflow = Workflow("held", version: 1) {
                (name: String, context: WorkflowContext) async throws -> String in
                try await context.step("hold") { step in
                    ledger.append(name, step)
                    if step.fencingToken == 1 && name != "quick" {
                        try await Promise<Void>().wait()
                    }
                }
                return name
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            _ = try await first.engine.start(workflow, id: "lost", input: "lost")
            _ = try await first.engine.start(workflow, id: "ended", input: "ended")
            let waiting = Task { try await first.engine.result(of: "ended", as: String.self) }
            while first.engine.waiterCount == 0 || ledger.effects.count < 2 { await Task.yield() }

            // The node misses this much of the log, and gets a snapshot of its end.
            cluster.cutOff(first)
            let second = try cluster.start(2, [workflow])
            try await second.until { $0.executors.count == 2 }
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "ended", as: String.self) == "ended")
            #expect(try await second.engine.result(of: "lost", as: String.self) == "lost")
            try await cluster.reconnectBySnapshot(first, from: second)
            #expect(try await waiting.value == "ended")
            // It finds that it was given up, and registers again; the next run is its own.
            try await second.until { $0.executors.allSatisfy(\.isAlive) }
            let run = try await second.engine.start(workflow, id: "next", input: "quick")
            #expect(try await run.result() == "quick")
            #expect(try await second.engine.describe("next").info.owner == first.node)
            while !first.engine.state.withLock({ $0.running.isEmpty }) { await Task.yield() }
        }
    }

    @Test("an engine has a task while it registers or runs something, and none otherwise")
    func idleEngine() async throws {
        try await withCluster { cluster in
            let (begun, mayEnd) = (Promise<Void>(), Promise<Void>())
            let workflow = Workflow("idle", version: 1) { (input: Int, _: WorkflowContext) async throws -> Int in
                begun.fulfill(())
                try await mayEnd.wait()
                return input
            }
            let node = try cluster.start(1, [workflow])
            func hasTask() -> Bool { node.engine.state.withLock { $0.bell.hasTask } }
            try await node.until { !$0.executors.isEmpty }
            while hasTask() { await Task.yield() }
            let run = try await node.engine.start(workflow, id: "a", input: 1)
            try await begun.wait()
            #expect(hasTask())
            mayEnd.fulfill(())
            #expect(try await run.result() == 1)
            while hasTask() { await Task.yield() }
            // And again.
            #expect(try await node.engine.start(workflow, id: "b", input: 2).result() == 2)
        }
    }

    /// What a wait for a bell comes to; `meanwhile` runs where it does not end at once.
    private func wait(
        for bell: inout EngineBell, mayLeave: Bool = false, _ meanwhile: (inout EngineBell) -> Void = { _ in }
    ) async -> Bool {
        await withCheckedContinuation { waiter in
            if let known = bell.wait(waiter, mayLeave: mayLeave) { return waiter.resume(returning: known) }
            meanwhile(&bell)
        }
    }

    @Test("rings that nobody has heard are one ring, and nobody waits for a bell that is finished")
    func bell() async {
        var bell = EngineBell()
        guard case .call = bell.ring(), case .none = bell.ring() else {
            Issue.record("an engine without a task is called once")
            return
        }
        let entered = [bell.enter(), bell.enter()]
        #expect(entered == [true, false])
        let heard = await wait(for: &bell)
        let woken = await wait(for: &bell) { bell in
            if case .resume(let waiter) = bell.ring() { waiter.resume(returning: true) }
        }
        let ended = await wait(for: &bell) { bell in bell.finish().waiter?.resume(returning: false) }
        let late = await wait(for: &bell)
        #expect([heard, woken, ended, late] == [true, true, false, false])
        if case .none = bell.ring() {} else { Issue.record("a finished bell rings") }
    }

    @Test("a task that finds nothing left to do leaves, and the next ring calls another one; none is lost in between")
    func bellLeaves() async {
        var bell = EngineBell()
        _ = bell.ring()
        var entered = [bell.enter()]
        // The ring that called it is heard first, also where nothing was left to do.
        var heard = [await wait(for: &bell, mayLeave: true)]
        _ = bell.ring()
        heard.append(await wait(for: &bell, mayLeave: true))
        heard.append(await wait(for: &bell, mayLeave: true))
        #expect(heard == [true, true, false])
        entered.append(bell.enter())
        #expect(!bell.isFinished)
        guard case .call = bell.ring() else {
            Issue.record("nobody hears the ring")
            return
        }
        entered.append(bell.enter())
        #expect(entered == [true, false, true])
        let working = bell.finish()
        var absent = EngineBell()
        let idle = absent.finish()
        #expect(working.seesEnd && !idle.seesEnd && absent.isFinished)
    }

    @Test("a registration that is wanted while one is under way follows it, and none begins once the node leaves")
    func registration() {
        var registration = EngineRegistration()
        var begun = [registration.begin()]
        registration.want()
        begun += [registration.begin(), registration.begin()]
        registration.want()
        begun.append(registration.begin())
        registration.end()
        begun.append(registration.begin())
        registration.end()
        registration.leave()
        registration.want()
        begun.append(registration.begin())
        #expect(begun == [false, true, false, false, true, false])
    }

    @Test("a registration that is under way is enough, whatever else changes meanwhile, unless it is undone")
    func registeredOnce() {
        var registration = EngineRegistration()
        registration.want()
        var begun = [registration.begin()]
        // Another node has registered, then this one.
        registration.note(isRegistered: false)
        registration.note(isRegistered: true)
        registration.end()
        begun.append(registration.begin())
        registration.note(isRegistered: false)
        begun.append(registration.begin())
        // Given up again, before it heard that it was registered.
        registration.note(isRegistered: true)
        registration.note(isRegistered: false)
        registration.end()
        begun.append(registration.begin())
        #expect(begun == [true, false, true, true])
    }

    @Test(
        "registrations of a node begin at a certain pace once there are many"
    )
    func pace() {
        let pace = RegistrationPace()
        let start = MonotonicTime(nanoseconds: 5_000_000_000)
        let turns = (0..<10_000).map { _ in pace.turn(start) }
        #expect(turns.count { $0 <= start } == RegistrationPace.burst + 1)
        #expect(turns == turns.sorted() && turns.last! < start.advanced(by: .seconds(4)))
        let later = start.advanced(by: .seconds(5))
        #expect(pace.turn(later) <= later)
    }

    @Test(
        "no more registrations are under way than may be, and those without an answer hold up the others for a while only"
    )
    func underWay() {
        let pace = RegistrationPace()
        let start = MonotonicTime(nanoseconds: 1_000_000_000)
        let numbers = (0..<RegistrationPace.burst).map { _ in pace.begin(start) }
        #expect(!numbers.contains(nil) && pace.begin(start) == nil)
        if let first = numbers[0] { pace.end(first) }
        #expect(pace.begin(start) != nil && pace.begin(start) == nil)
        let later = start.advanced(by: RegistrationPace.patience)
        #expect(pace.begin(later) != nil)
    }
}
