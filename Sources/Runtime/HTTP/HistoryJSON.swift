import FlotillaIO
import FlotillaRaft

/// A run's history as the HTTP interface shows it, and as `flotilla workflow history --json` writes it.
enum HistoryJSON {
    static func value(_ history: WorkflowHistory) -> JSONValue {
        .object([
            "workflow": .object(header(history)), "events": .array(history.events.map(value)),
            "next": history.next.map(JSONValue.string) ?? .null,
        ])
    }

    private static func header(_ history: WorkflowHistory) -> [String: JSONValue] {
        var object = WorkflowJSON.members(history.info)
        object["inputBytes"] = .integer(Int64(history.inputBytes))
        if let bytes = history.outputBytes { object["outputBytes"] = .integer(Int64(bytes)) }
        if let input = history.input { object["input"] = WorkflowJSON.document(input) }
        WorkflowJSON.addEnd(output: history.output, failure: history.failure, to: &object)
        return object
    }

    private static func value(_ event: WorkflowEvent) -> JSONValue {
        var object: [String: JSONValue] = [
            "kind": .string(event.kind), "name": .string(event.name),
            "occurrence": WorkflowJSON.number(event.occurrence), "time": WorkflowJSON.time(event.recordedAt),
        ]
        switch event.detail {
        case .step(let owner, let epoch, let attempt, let duration):
            object["owner"] = WorkflowJSON.number(owner.rawValue)
            object["epoch"] = WorkflowJSON.number(epoch)
            object["attempt"] = .integer(Int64(attempt))
            object["durationNanoseconds"] = .integer(duration.clampedNanoseconds)
        case .failedStep(let owner, let epoch, let attempt, let duration, let failure):
            object["owner"] = WorkflowJSON.number(owner.rawValue)
            object["epoch"] = WorkflowJSON.number(epoch)
            object["attempt"] = .integer(Int64(attempt))
            object["durationNanoseconds"] = .integer(duration.clampedNanoseconds)
            WorkflowJSON.addEnd(output: nil, failure: failure, to: &object)
            return .object(object)
        case .sleep(let deadline, let firedAt):
            object["deadline"] = WorkflowJSON.time(deadline)
            if let firedAt { object["firedAt"] = WorkflowJSON.time(firedAt) }
            return .object(object)
        case .checkpoint: break
        case .message(_, let sender, let failure):
            object["sender"] = .string(sender)
            WorkflowJSON.addEnd(output: nil, failure: failure, to: &object)
        case .reply(let failure): WorkflowJSON.addEnd(output: nil, failure: failure, to: &object)
        case .receipt(_, let message):
            if let message { object["message"] = WorkflowJSON.number(message) }
            return .object(object)
        case .awakeable: return .object(object)
        }
        object["bytes"] = .integer(Int64(event.bytes))
        if let value = event.value { object["value"] = WorkflowJSON.document(value) }
        return .object(object)
    }
}

extension WorkflowHistory {
    /// Reads what `flotilla workflow history ID --json` wrote. Times are as fine as that writes them, to a microsecond.
    /// - Throws: `WorkflowError` with `invalidInput`, which says what is missing.
    public init(json bytes: [UInt8]) throws {
        let document: JSONValue
        do throws(JSONError) {
            document = try JSONValue(parsing: bytes)
        } catch {
            throw HistoryField.error("is not JSON: \(error.message)")
        }
        let run = try HistoryField(document["workflow"], "workflow")
        guard let runID = RunID(try run.text("run")), let status = WorkflowStatus(name: try run.text("status")) else {
            throw HistoryField.error("has no run id or no status that this version knows")
        }
        info = WorkflowInfo(
            workflowID: try run.text("id"), runID: runID, type: try run.text("type"),
            version: UInt32(clamping: try run.number("version")), status: status, startedAt: try run.time("startedAt"))
        if run.has("finishedAt") { info.finishedAt = try run.time("finishedAt") }
        if run.has("owner") { info.owner = NodeID(try run.number("owner")) }
        inputBytes = Int(clamping: try run.number("inputBytes"))
        if run.has("outputBytes") { outputBytes = Int(clamping: try run.number("outputBytes")) }
        failure = try run.failure
        guard let events = document["events"] else { throw HistoryField.error("has no events") }
        self.events = try events.elements.map { try WorkflowEvent(HistoryField($0, "an event")) }
        next = document["next"]?.text
        input = run.bytes("input")
        output = run.bytes("output")
    }
}

extension WorkflowEvent {
    fileprivate init(_ field: HistoryField) throws {
        name = try field.text("name")
        occurrence = try field.number("occurrence")
        recordedAt = try field.time("time")
        bytes = field.has("bytes") ? Int(clamping: try field.number("bytes")) : 0
        switch try field.text("kind") {
        case "step":
            let (owner, epoch) = (NodeID(try field.number("owner")), try field.number("epoch"))
            let attempt = Int(clamping: try field.number("attempt"))
            let duration = Duration.nanoseconds(Int64(clamping: try field.number("durationNanoseconds")))
            if let failure = try field.failure {
                detail = .failedStep(
                    owner: owner, epoch: epoch, attempt: attempt, duration: duration, failure: failure)
            } else {
                detail = .step(owner: owner, epoch: epoch, attempt: attempt, duration: duration)
            }
        case "sleep":
            detail = .sleep(
                deadline: try field.time("deadline"), firedAt: field.has("firedAt") ? try field.time("firedAt") : nil)
        case "checkpoint": detail = .checkpoint
        case "message":
            detail = .message(try Self.messageKind(name), sender: try field.text("sender"), failure: try field.failure)
        case "receipt":
            detail = .receipt(
                try Self.messageKind(name), message: field.has("message") ? try field.number("message") : nil)
        case "reply": detail = .reply(failure: try field.failure)
        case "awakeable": detail = .awakeable
        case let kind: throw HistoryField.error("has an event of kind '\(kind)', which this version does not know")
        }
        value = field.bytes("value")
    }
}

extension WorkflowEvent {
    fileprivate static func messageKind(_ name: String) throws -> WorkflowMessageKind {
        guard let box = Mailbox(ByteText(name)) else { throw HistoryField.error("has a message of no kind: '\(name)'") }
        return box.kind
    }
}

/// An object of a history in JSON, whose members must be there.
private struct HistoryField {
    let value: JSONValue
    let name: String

    init(_ value: JSONValue?, _ name: String) throws {
        guard let value else { throw Self.error("has no \(name)") }
        self.value = value
        self.name = name
    }

    static func error(_ what: String) -> WorkflowError { WorkflowError(.invalidInput, "the history \(what)") }

    func has(_ member: String) -> Bool { value[member] != nil }

    func bytes(_ member: String) -> [UInt8]? { value[member]?.canonicalBytes }

    func object(_ member: String) throws -> HistoryField { try HistoryField(value[member], "\(name).\(member)") }

    func text(_ member: String) throws -> String {
        guard let text = value[member]?.text else { throw Self.error("has no text '\(member)' in \(name)") }
        return text
    }

    func number(_ member: String) throws -> UInt64 {
        switch value[member] {
        case .integer(let number)? where number >= 0: return UInt64(number)
        case .unsigned(let number)?: return number
        default: throw Self.error("has no number '\(member)' in \(name)")
        }
    }

    /// Nil where there is none.
    var failure: WorkflowFailure? {
        get throws {
            guard has("failure") else { return nil }
            let failure = try object("failure")
            return WorkflowFailure(type: try failure.text("type"), message: try failure.text("message"))
        }
    }

    func time(_ member: String) throws -> Int64 {
        guard let time = WallTime(rfc3339: try text(member)) else {
            throw Self.error("has no time '\(member)' in \(name)")
        }
        return time.nanoseconds
    }
}
