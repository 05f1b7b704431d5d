import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What nodes tell and ask each other's runs. Each may be sent again: senders number what they send, and updates have
// ids.

struct SendSignal: RunRequest {
    typealias Reply = Nothing
    static let name = "signal"
    var id: String
    var signal: String
    @Base64 var value: [UInt8]
    var sender: String
    var number: UInt64

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> Nothing {
        try await engine.signal(id, name: signal, value: value, from: (sender, number))
        return Nothing()
    }
}

struct SendUpdate: RunRequest {
    static let name = "update"
    var id: String
    var update: String
    @Base64 var input: [UInt8]
    var updateID: String
    var timeout: Duration

    /// Neither member while it is not answered.
    struct Reply: Codable, Sendable {
        @Base64 var output: [UInt8]?
        var failure: WorkflowFailure?

        var outcome: UpdateOutcome? { failure.map(UpdateOutcome.rejected) ?? output.map(UpdateOutcome.replied) }
    }

    var subject: String? { id }
    var patience: Duration { timeout + .seconds(10) }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        switch try await engine.update(id, name: update, input: input, updateID: updateID, timeout: timeout) {
        case nil: Reply(output: nil)
        case .replied(let output)?: Reply(output: output)
        case .rejected(let failure)?: Reply(output: nil, failure: failure)
        }
    }
}

struct AskQuery: RunRequest {
    static let name = "query"
    var id: String
    var query: String
    @Base64 var input: [UInt8]

    struct Reply: Codable, Sendable {
        @Base64 var output: [UInt8]
    }

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        Reply(output: try await engine.query(id, name: query, input: input))
    }
}

struct CompleteAwakeable: RunRequest {
    typealias Reply = Nothing
    static let name = "completeAwakeable"
    /// Anybody may make up a token.
    static let namesPart = true
    var token: String
    /// Nil rejects it.
    @Base64 var value: [UInt8]?
    var reason: String

    var subject: String? { AwakeableToken(token)?.run.workflowID }
    func perform(on engine: WorkflowEngine) async throws -> Nothing {
        try await engine.complete(token, value: value, reason: reason)
        return Nothing()
    }
}

extension WorkflowRouter {
    func signal(
        _ id: String, name: String, value: [UInt8], from sender: (name: String, number: UInt64)?
    ) async throws {
        // The same for every try.
        let (sender, number) = sender ?? (randomName(), 1)
        let request = SendSignal(id: id, signal: name, value: value, sender: sender, number: number)
        _ = try await perform(request, on: id)
    }

    /// - Returns: nil when the time is over.
    func update(
        _ id: String, name: String, input: [UInt8], updateID: String, timeout: Duration?
    ) async throws -> UpdateOutcome? {
        let deadline = timeout.map { core.loop.now.advanced(by: $0) }
        while true {
            let left = deadline.map { max(.zero, core.loop.now.duration(to: $0)) }
            let wait = min(left ?? Self.waitMax, Self.waitMax)
            let request = SendUpdate(id: id, update: name, input: input, updateID: updateID, timeout: wait)
            if let outcome = try await perform(request, on: id).outcome { return outcome }
            if let deadline, core.loop.now >= deadline { return nil }
        }
    }

    func query(_ id: String, name: String, input: [UInt8]) async throws -> [UInt8] {
        try await perform(AskQuery(id: id, query: name, input: input), on: id).output
    }

    func complete(_ token: String, value: [UInt8]?, reason: String = "") async throws {
        let id = try AwakeableToken(checking: token).run.workflowID
        _ = try await perform(CompleteAwakeable(token: token, value: value, reason: reason), on: id)
    }

    /// For whoever does not name what it sends.
    /// For a sender that sends once.
    func randomName() -> String {
        RunMessages.Sender.singlePrefix + uuidText(high: random(), low: random())
    }
}
