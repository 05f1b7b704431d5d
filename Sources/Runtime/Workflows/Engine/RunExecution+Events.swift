import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a body that waits for several things goes on by.
enum RunEvent: String, Codable, Sendable {
    case message
    case time
    case childEnd
}

extension RunExecution {
    /// Waits until there is a message in a mailbox, a child has ended, or the time has come. What it was is recorded.
    func nextEvent(_ box: Mailbox, child: StepKey?, until deadline: Int64?) async throws -> RunEvent {
        let step = try count("$event", counter: \.steps)
        if let known = recorded.steps[step] {
            meet(.step, step)
            return try decode(known.value, "\(step)")
        }
        let place = "\(step)"
        enterCall()
        defer { leaveCall() }
        if try await meetsCancellation(at: place) { throw Self.cancelled }
        try await replay?.end(.step, step)
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            let event = try await look { run -> RunEvent? in
                if run.messages?.next(in: box) != nil { return .message }
                return child.flatMap { run.ties?.children[$0]?.end } == nil ? nil : .childEnd
            }
            if let event = event ?? nil { return try await record(event, as: step) }
            if let deadline, environment.loop.wallNow.nanoseconds >= deadline {
                return try await record(.time, as: step)
            }
            try await wait(for: bell, until: deadline, WaitNotice(ask: step))
            if try await meetsCancellation(at: place) { throw Self.cancelled }
        }
    }

    /// Asks a child to end.
    func closeChild(_ id: String) async throws {
        let step = try count("$close/\(id)", counter: \.steps)
        let post = RunTies.Post(workflowID: id, content: .closeChild(.cancel), step: step, createdAt: 0)
        enterCall()
        defer { leaveCall() }
        _ = try await outcome(of: post, step)
    }
}
