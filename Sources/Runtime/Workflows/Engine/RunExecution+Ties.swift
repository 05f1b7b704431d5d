import FlotillaActors
import FlotillaIO
import FlotillaRaft

// How a body reaches other runs. What it tells them is in its record before they hear of it, and the group's leader
// brings it there; the answer is recorded like a step's result, by that leader.

extension RunExecution {
    func signal(_ id: String, name: String, _ value: [UInt8]) async throws {
        // Signals that are sent at the same time to different runs are told apart.
        let step = try count("$signal/\(id)/\(name)", counter: \.steps)
        let post = RunTies.Post(
            workflowID: id,
            content: .signal(name: name, value: try environment.codec.encode(JSONCoding.canonical(value))),
            step: step, createdAt: 0)
        enterCall()
        defer { leaveCall() }
        _ = try await outcome(of: post, step)
    }

    /// - Parameter policy: nil for a child whose end is nothing to this run.
    func startChild(
        _ type: WorkflowType, name: String, id: String?, _ input: [UInt8], _ attributes: [String: String],
        _ policy: ParentClosePolicy?
    ) async throws -> (key: StepKey, id: String, runID: RunID) {
        try checkName(name)
        let step = try begin(
            "child", name, counter: \.steps, countedAs: ByteText(ChildKey.start(name)))
        defer { finish("child", name) }
        let execution = recorded.execution == 1 ? "" : "\(recorded.execution)."
        let id = id ?? "\(key.workflowID)/\(execution)\(name)/\(step.occurrence)"
        try WorkflowLimits.checkID(id)
        let limit = environment.limits.inputBytesMax
        guard input.count <= limit else {
            throw WorkflowError(
                .resultTooLarge, "the input of child '\(id)' takes \(input.count) bytes, the limit is \(limit)")
        }
        let content = RunTies.Post.Content.startChild(
            type: type, input: try environment.codec.encode(JSONCoding.canonical(input)),
            attributes: try RunAttributes(checking: attributes))
        let outcome = try await outcome(
            of: RunTies.Post(workflowID: id, content: content, step: step, createdAt: 0), step, policy)
        guard let runID = outcome.runID else {
            throw WorkflowError(.undecodableResult, "what is recorded of child '\(id)' does not name its run")
        }
        return (step, id, runID)
    }

    /// Waits for the end of a child.
    func end(of child: StepKey, id: String) async throws -> WorkflowOutcome {
        let step = ChildKey.end(of: child)
        let place = "\(step)"
        enterCall()
        defer { leaveCall() }
        if try await hearsAgain(at: place) { throw Self.cancelled }
        if let known = recorded.steps[step] {
            // Asked for again it is the same.
            if progress.withLock({ $0.metEnds.insert(step).inserted }) { meet(.step, step) }
            return try readable(try decode(known.value, "the end of child '\(id)'") as WorkflowOutcome)
        }
        // Whoever cleans up may wait for the child at the place where it heard that the run is to end.
        if !isCancelled, try await meetsCancellation(at: place) { throw Self.cancelled }
        try await replay?.end(.step, step)
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            let hasEnded = try await look { $0.steps[step] != nil || $0.ties?.children[child]?.end != nil }
            if hasEnded == true, let end = try await propose(.tie(.takeEnd(address, child: child))).recordedValue {
                return try readable(try decode(end, "the end of child '\(id)'") as WorkflowOutcome)
            }
            try await wait(for: bell, until: nil, WaitNotice(ask: step))
            if !isCancelled, try await meetsCancellation(at: place) { throw Self.cancelled }
        }
    }

    /// Sends something to another run, unless that was done, and waits for what came of it.
    func outcome(
        of post: RunTies.Post, _ step: StepKey, _ policy: ParentClosePolicy? = nil
    ) async throws -> PostOutcome {
        let place = "\(step)"
        let hearsAgain = try await hearsAgain(at: place)
        if let known = recorded.steps[step] {
            meet(.step, step)
            if hearsAgain { throw Self.cancelled }
            return try PostOutcome(recorded: known.value)
        }
        if hearsAgain { throw Self.cancelled }
        let isSent = recorded.ties?.number(of: step) != nil
        if !isSent, try await meetsCancellation(at: place) { throw Self.cancelled }
        try await replay?.end(.step, step, isRecorded: isSent)
        if !isSent {
            do {
                _ = try await propose(.tie(.post(address, post, policy)))
            } catch let refused as Refused where refused.code == .outboxFull {
                throw WorkflowError(.outboxFull, refused.message)
            }
        }
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            if let value = try await look({ $0.steps[step]?.value }) ?? nil { return try PostOutcome(recorded: value) }
            try await wait(for: bell, until: nil, WaitNotice(ask: step))
            if try await meetsCancellation(at: place) { throw Self.cancelled }
        }
    }

    /// An earlier owner's body heard here that the run is to end, and went on from that. What it waited for may have been
    /// recorded since, by the leader: this body hears the same all the same.
    private func hearsAgain(at place: String) async throws -> Bool {
        guard progress.withLock({ $0.cancellationPlace == place && !$0.isCancelled }) else { return false }
        return try await meetsCancellation(at: place)
    }

    /// - Returns: nil where the run is not there any more.
    func look<Result: Sendable>(_ body: @escaping @Sendable (Run) -> Result) async throws -> Result? {
        let key = key
        do {
            return try await environment.withMachine { $0.state.runs[key].map(body) }
        } catch is GroupError {
            throw halt(.shutdown)
        }
    }
}

/// What came of something that a run told another one, as it is recorded.
struct PostOutcome: Codable, Hashable, Sendable {
    /// Of a child.
    var runID: RunID?
    /// Why it cannot be done, and never will.
    var code: String?
    var message: String?

    init(runID: RunID? = nil) { self.runID = runID }

    init(_ error: WorkflowError) { (code, message) = (error.code.rawValue, error.message) }

    /// - Throws: `WorkflowError` with what it is about, where it could not be done.
    init(recorded value: [UInt8]) throws {
        do {
            self = try JSONCoding.decode(PostOutcome.self, from: value)
        } catch {
            throw WorkflowError(.undecodableResult, "what is recorded of a message to another run is damaged: \(error)")
        }
        guard let code else { return }
        throw WorkflowError(WorkflowError.Code(rawValue: code) ?? .unexpectedAnswer, message ?? "")
    }
}
