import FlotillaActors
import FlotillaIO

// How a body hears from outside. What it received is recorded, so the next owner's body receives the same.

extension RunExecution {
    /// Waits for the next message of a mailbox.
    /// - Parameter limit: nil waits as long as it takes; a time that is over is recorded as well.
    func receive(_ box: Mailbox, within limit: Duration? = nil) async throws -> MessageReceipt {
        let ask = try begin("\(box.kind)", box.name, counter: \.asks, countedAs: box.text)
        defer { finish("\(box.kind)", box.name) }
        if let known = recorded.messages?.receipt(of: ask) {
            if keepsOrder {
                try await order.turn(of: ReplayNotes.Use(kind: .receipt, key: ask), environment.loop)
            }
            meet(.receipt, ask)
            return try readable(known)
        }
        let place = "\(ask)"
        if try await meetsCancellation(at: place) { throw Self.cancelled }
        try await replay?.end(.receipt, ask)
        let deadline = try await deadline(of: ask, limit)
        try await order.turn(of: nil, environment.loop)
        var notice = WaitNotice(ask, deadline, self)
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            let isDue = deadline.map { environment.loop.wallNow.nanoseconds >= $0 } ?? false
            let mayEnd = isDue ? true : try await hasMessage(for: box)
            if mayEnd {
                do {
                    let result = try await propose(.message(.take(address, ask: ask, isDue: isDue)))
                    if let receipt = result.messages?.receipt { return try readable(receipt) }
                } catch let refused as Refused where refused.code == .notYet {
                    // This clock has been set back, or runs ahead of the one that stamped the command.
                    try await environment.loop.sleep(for: Backoff.delayMin)
                    continue
                }
            }
            try await announce(&notice)
            try await wait(for: bell, until: deadline, notice)
            if try await meetsCancellation(at: place) { throw Self.cancelled }
        }
    }

    /// When an ask's time is over; recorded, so that the next owner does not begin it anew.
    func deadline(of ask: StepKey, _ limit: Duration?) async throws -> Int64? {
        guard let limit else { return nil }
        if let known = recorded.messages?.asks[ask]?.deadline { return known }
        return try await propose(.message(.limit(address, ask: ask, max(0, limit.clampedNanoseconds)))).deadline
    }

    /// Until it rings, the run is to end, or the wall clock reaches `deadline`; now and then without a reason.
    func wait(for bell: Promise<Void>, until deadline: Int64?, _ notice: WaitNotice) async throws {
        let loop = environment.loop
        var lookAgainAt = notice.dueAt
        if let deadline {
            let (left, overflow) = deadline.subtractingReportingOverflow(loop.wallNow.nanoseconds)
            let interval = environment.limits.wallClockCheckInterval
            let duration = overflow ? interval : min(interval, .nanoseconds(max(1, left)))
            let time = loop.now.advanced(by: duration)
            lookAgainAt = lookAgainAt.map { min($0, time) } ?? time
        }
        let cancelTimer = lookAgainAt.map { loop.promise(bell, fulfilledAt: $0, with: ()).cancel }
        // A wait that is to be announced goes on soon.
        let wait = beginWait(until: notice.dueAt == nil ? deadline : .min)
        defer { endWait(wait) }
        // Who has heard of it waits on.
        if progress.withLock({ $0.cancellationPlace == nil }) { cancel.wake(bell) }
        defer {
            cancel.forget(bell)
            cancelTimer?()
        }
        try await bell.wait()
        guard !environment.bells.isClosed else { throw CancellationError() }
    }

    /// Records that an ask waits, once it has done so for a while.
    func announce(_ notice: inout WaitNotice) async throws {
        guard let dueAt = notice.dueAt, environment.loop.now >= dueAt else { return }
        notice.dueAt = nil
        _ = try await propose(.message(.announce(address, ask: notice.ask)))
    }

    private func hasMessage(for box: Mailbox) async throws -> Bool {
        let key = key
        do {
            return try await environment.withMachine { $0.state.runs[key]?.messages?.next(in: box) != nil }
        } catch is GroupError {
            throw halt(.shutdown)
        }
    }

    // MARK: Answers

    /// Answers an update that was received; the first answer stands.
    func reply(to message: StepKey, _ content: MessageContent) async throws {
        if recorded.messages?.messages[message]?.reply != nil { return meet(.reply, message) }
        try await replay?.end(.reply, message)
        var content = content
        if let value = content.value { content = .value(try environment.codec.encode(value)) }
        _ = try await propose(.message(.reply(address, message, content)))
    }

    // MARK: Awakeables

    /// Makes an awakeable; its key, and what outside systems know it by.
    func createAwakeable(_ name: String) async throws -> (key: StepKey, token: String) {
        try checkName(name)
        let awakeable = try count(name, counter: \.awakeables)
        if let known = recorded.messages?.awakeables[awakeable] {
            meet(.awakeable, awakeable)
            return (awakeable, token(of: awakeable, known.secret))
        }
        try await replay?.end(.awakeable, awakeable)
        var writer = ProtobufWriter()
        writer.fixed64(1, environment.random())
        writer.fixed64(2, environment.random())
        let result = try await propose(.message(.createAwakeable(address, awakeable, secret: writer.bytes)))
        return (awakeable, token(of: awakeable, result.recordedValue ?? writer.bytes))
    }

    private func token(of awakeable: StepKey, _ secret: [UInt8]) -> String {
        AwakeableToken(
            group: environment.group, run: address, awakeable: awakeable, secret: secret
        ).text
    }
}

/// A wait that lasts is to be recorded, so that every node can say what the run waits for. One with a time limit is
/// recorded already, and most of the others are over before they are worth an entry.
struct WaitNotice {
    let ask: StepKey
    /// Nil where nothing is to be recorded.
    var dueAt: MonotonicTime?
}

extension WaitNotice {
    init(_ ask: StepKey, _ deadline: Int64?, _ execution: RunExecution) {
        self.ask = ask
        guard deadline == nil, execution.recorded.messages?.asks[ask] == nil else { return }
        dueAt = execution.environment.loop.now.advanced(by: WorkflowLimits.waitAnnouncedAfter)
    }
}
