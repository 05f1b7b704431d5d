import FlotillaIO

/// A schedule is a workflow that every node has: its state is its record, a firing starts a child under an id that
/// follows from the firing's time, and a new execution begins before the record gets long.
enum ScheduleWorkflow {
    static let typeName = "$schedule"
    static let control = WorkflowUpdate<ScheduleCommand, ScheduleDescription>("control")
    static let description = WorkflowQuery<Bool, ScheduleDescription>("description")
    /// What happens in an execution until the next one begins.
    private static let eventsMax = 200

    static let workflow = Workflow<ScheduleState, ScheduleState>(typeName, version: 1) { state, context in
        let known = context.variable(state)
        context.answer(description) { _ in known.value.description }
        var keeper = ScheduleKeeper(state: state, context: context)
        for _ in 0..<eventsMax {
            try await keeper.handleEvent()
            known.set(keeper.state)
        }
        // The end of what runs may have been heard of and not been dealt with.
        try await context.execution.continueAsNew(
            try encodeValue(keeper.state, "the state of a schedule"), version: nil,
            keeping: [keeper.state.running?.child].compactMap(\.self))
    }

    /// The workflow id of a schedule.
    static func id(of name: String) -> String { "\(typeName)/\(name)" }

    /// - Returns: nil for other workflow ids, and for former executions of schedules.
    static func name(of id: String) -> String? {
        let prefix = "\(typeName)/"
        return id.hasPrefix(prefix) && !ExecutionID.isFormer(id) ? String(id.dropFirst(prefix.count)) : nil
    }

    static func checkName(_ name: String) throws {
        guard !name.isEmpty, name.utf8.count <= 200 else {
            throw WorkflowError(.invalidName, "the name of a schedule has 1 to 200 bytes, this one \(name.utf8.count)")
        }
        try WorkflowLimits.checkID(id(of: name))
    }
}

/// What a schedule's body does. All that it decides by is recorded.
struct ScheduleKeeper {
    var state: ScheduleState
    let context: WorkflowContext

    /// Waits for the next firing, a command, or the end of what runs, and does what is to be done.
    mutating func handleEvent() async throws {
        var next: Int64?
        if !state.isPaused {
            let (state, environment) = (self.state, context.execution.environment)
            // Recorded: nodes may know time zones differently.
            let plan = try await context.step("next") { _ in try state.plan(at: environment.loop.wallNow.nanoseconds) }
            next = plan.next
            self.state.last = plan.last
            self.state.skipped += plan.missed
        }
        let due = next.map { $0 + state.schedule.jitter(of: $0, state.name) }
        let box = Mailbox(.update, ScheduleWorkflow.control.name)
        switch try await context.execution.nextEvent(box, child: state.running?.child, until: due) {
        case .message: try await handleCommand()
        case .time:
            guard let next else { return }
            state.last = next
            try await handle(next)
        case .childEnd: try await handleEnd()
        }
    }

    private mutating func handle(_ firing: Int64) async throws {
        guard state.running != nil, state.schedule.overlap != .allow else { return try await start(firing) }
        switch state.schedule.overlap {
        case .skip, .allow: state.skipped += 1
        case .queue: enqueue([firing])
        case .cancel:
            state.skipped += state.queue.count
            state.queue = [firing]
            try await endRunning()
        }
    }

    private mutating func enqueue(_ firings: [Int64]) {
        let room = max(0, ScheduleState.queueMax - state.queue.count)
        state.queue += firings.prefix(room)
        state.skipped += max(0, firings.count - room)
    }

    private mutating func endRunning() async throws {
        guard let running = state.running, !running.isToEnd else { return }
        state.running?.isToEnd = true
        do {
            try await context.execution.closeChild(running.workflowID)
        } catch let error as WorkflowError where error.code == .notFound {
            // It has ended, and was removed.
        }
    }

    private mutating func handleEnd() async throws {
        guard let running = state.running else { return }
        _ = try await context.execution.end(of: running.child, id: running.workflowID)
        state.running = nil
        while state.running == nil, !state.queue.isEmpty { try await start(state.queue.removeFirst()) }
    }

    /// Starts the workflow of a firing.
    private mutating func start(_ firing: Int64) async throws {
        let schedule = state.schedule
        let environment = context.execution.environment
        do {
            var version = schedule.version
            if version == nil {
                version = try await context.step("version") { _ in
                    if let newest = environment.context.newestVersion(schedule.workflow) { return newest }
                    return try await environment.withMachine { $0.state.newestVersion(of: schedule.workflow) }
                }
            }
            let (key, id, _) = try await context.execution.startChild(
                WorkflowType(schedule.workflow, version: version ?? 1), name: "firing-\(firing)",
                id: state.workflowID(of: firing), schedule.input.canonicalBytes, schedule.attributes,
                schedule.overlap == .allow ? nil : .abandon)
            if schedule.overlap != .allow { state.running = ScheduleState.Running(child: key, workflowID: id) }
            state.fired += 1
            state.problem = nil
            state.recent.append(ScheduleDescription.Firing(time: firing, workflowID: id))
            state.recent.removeFirst(max(0, state.recent.count - ScheduleState.recentMax))
        } catch let error as WorkflowError where error.code != .cancelled {
            // Started before, by a backfill, or not to be started: the next firing may be.
            state.skipped += 1
            state.problem = error.description
        }
    }

    // MARK: Commands

    private mutating func handleCommand() async throws {
        let request = try await context.receive(ScheduleWorkflow.control)
        do {
            switch request.input {
            case .pause(let note): (state.isPaused, state.note) = (true, note)
            case .resume:
                (state.isPaused, state.note) = (false, "")
                let (known, now) = (state, try await context.now().nanoseconds)
                state.last = try await context.step("resume") { _ in try known.dueTime(by: now) }
            case .replace(let schedule):
                let now = Schedule.wholeSeconds(try await context.now())
                try await check(schedule, now)
                state.schedule = schedule
                (state.anchor, state.last) = (now, now)
            case .trigger: try await handle(try await context.now().nanoseconds)
            case .backfill(let start, let end): try await backfill(from: start, to: end)
            }
        } catch let error as WorkflowError where error.code == .invalidInput {
            return try await request.reject(error.message)
        }
        try await request.reply(state.description)
    }

    /// Recorded, as what nodes know of time zones may differ.
    private func check(_ schedule: Schedule, _ now: Int64) async throws {
        let problem = try await context.step("check") { _ -> String in
            do {
                try schedule.check(at: now)
                return ""
            } catch let error as WorkflowError {
                return error.message
            }
        }
        if !problem.isEmpty { throw WorkflowError(.invalidInput, problem) }
    }

    private mutating func backfill(from start: Int64, to end: Int64) async throws {
        let state = self.state
        let firings = try await context.step("backfill") { _ in
            try state.firings(from: start, to: end, limit: ScheduleState.queueMax + 1)
        }
        guard firings.count <= ScheduleState.queueMax else {
            throw WorkflowError(
                .invalidInput,
                "there are more than \(ScheduleState.queueMax) firings in that time; backfill a part of it")
        }
        if state.schedule.overlap == .allow {
            for firing in firings { try await self.start(firing) }
        } else {
            enqueue(firings)
            while self.state.running == nil, !self.state.queue.isEmpty {
                try await self.start(self.state.queue.removeFirst())
            }
        }
    }
}

extension WorkflowState {
    /// The highest version of a type that a live node has; else that one ever had.
    func newestVersion(of name: String) -> UInt32? {
        let live = executors.map(\.value).filter(\.isAlive).flatMap(\.capabilities).filter { $0.name == name }
        return (live.max() ?? knownTypes.filter { $0.name == name }.max())?.version
    }
}
