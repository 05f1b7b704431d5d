import FlotillaIO
import FlotillaRaft

/// Workflows as the HTTP interface shows them. Times are RFC 3339 in UTC.
enum WorkflowJSON {
    /// A step's value is shown up to so many bytes; of a longer one only the size.
    static let stepValueBytesMax = 4 << 10

    static func value(_ info: WorkflowInfo) -> JSONValue { .object(members(info)) }

    static func value(_ page: WorkflowPage) -> JSONValue {
        var object: [String: JSONValue] = [
            "workflows": .array(page.runs.map(value)),
            "next": page.next.map(JSONValue.string) ?? .null, "asOf": time(page.asOf),
        ]
        if page.isPartial { object["unavailable"] = .array(page.unavailable.map(JSONValue.string)) }
        return .object(object)
    }

    static func value(_ count: WorkflowCount) -> JSONValue {
        let statuses = WorkflowStatus.allCases.map { status in
            (status.description, JSONValue.integer(Int64(count.byStatus[status] ?? 0)))
        }
        var object: [String: JSONValue] = [
            "count": .integer(Int64(count.total)), "asOf": time(count.asOf),
            "byStatus": .object(Dictionary(uniqueKeysWithValues: statuses)),
        ]
        if !count.unavailable.isEmpty {
            object["unavailable"] = .array(count.unavailable.map(JSONValue.string))
        }
        return .object(object)
    }

    static func value(_ wait: WorkflowWait) -> JSONValue {
        var object: [String: JSONValue] = [
            "reason": .string(wait.reason.rawValue), "name": .string(wait.name), "occurrence": number(wait.occurrence),
            "description": .string(wait.description),
        ]
        if let since = wait.since { object["since"] = time(since) }
        if let until = wait.until { object["until"] = time(until) }
        if let attempts = wait.attempts { object["attempts"] = .integer(Int64(attempts)) }
        addEnd(output: nil, failure: wait.failure, to: &object)
        return .object(object)
    }

    static func value(_ description: WorkflowDescription) -> JSONValue {
        var object = members(description.info)
        object["waits"] = .array(description.waits.map(value))
        object["epoch"] = number(description.epoch)
        object["input"] = document(description.input)
        if let origin = description.forkedFrom { object["forkedFrom"] = .string(origin) }
        if let trace = description.trace { object["traceparent"] = .string(trace.traceparent) }
        addEnd(output: description.output, failure: description.failure, to: &object)
        object["steps"] = .array(
            description.steps.map { step in
                var members: [String: JSONValue] = [
                    "name": .string(step.name), "occurrence": number(step.occurrence),
                    "epoch": number(step.epoch), "recordedAt": time(step.recordedAt),
                    "owner": number(step.owner.rawValue), "attempt": .integer(Int64(step.attempt)),
                    "durationNanoseconds": .integer(step.duration.clampedNanoseconds),
                    "bytes": .integer(Int64(step.value.count)),
                ]
                if step.value.count <= stepValueBytesMax { members["value"] = document(step.value) }
                return .object(members)
            })
        object["earlierSteps"] = number(description.earlierSteps)
        object["failedSteps"] = .array(
            description.failedSteps.map { step in
                var members: [String: JSONValue] = [
                    "name": .string(step.name), "occurrence": number(step.occurrence),
                    "attempts": .integer(Int64(step.attempts)), "failedAt": time(step.failedAt),
                ]
                if let nextAt = step.nextAt { members["nextAt"] = time(nextAt) }
                addEnd(output: nil, failure: step.failure, to: &members)
                return .object(members)
            })
        object["progress"] = .array(
            description.progress.map { progress in
                .object([
                    "name": .string(progress.name), "occurrence": number(progress.occurrence),
                    "attempt": .integer(Int64(progress.attempt)), "owner": number(progress.owner.rawValue),
                    "recordedAt": time(progress.recordedAt), "value": document(progress.value),
                ])
            })
        object["timers"] = .array(
            description.timers.map { timer in
                .object([
                    "name": .string(timer.name), "occurrence": number(timer.occurrence),
                    "deadline": time(timer.deadline), "fired": .bool(timer.hasFired),
                ])
            })
        object["checkpoints"] = .array(
            description.checkpoints.map { checkpoint in
                .object([
                    "key": .string(checkpoint.key), "count": number(checkpoint.count),
                    "recordedAt": time(checkpoint.recordedAt), "value": document(checkpoint.value),
                ])
            })
        return .object(object)
    }

    static func value(_ page: CheckpointPage) -> JSONValue {
        .object([
            "checkpoints": .array(
                page.checkpoints.map { checkpoint in
                    .object([
                        "number": number(checkpoint.number), "recordedAt": time(checkpoint.recordedAt),
                        "value": document(checkpoint.value),
                    ])
                }),
            "next": page.next.map(number) ?? .null,
        ])
    }

    static func value(_ page: WorkflowStreamPage) -> JSONValue {
        .object([
            "events": .array(
                page.events.map { event in
                    .object([
                        "position": .string(event.position), "recordedAt": time(event.recordedAt),
                        "value": document(event.value),
                    ])
                }),
            "next": page.next.map(JSONValue.string) ?? .null, "ended": .bool(page.hasEnded),
        ])
    }

    /// How a run ended; only its status while it has not.
    static func result(_ description: WorkflowDescription) -> JSONValue {
        var object: [String: JSONValue] = [
            "id": .string(description.info.workflowID),
            "status": .string(description.info.status.description),
        ]
        if let reason = description.info.parkedReason { object["parkedReason"] = .string(reason) }
        if let reason = description.info.reason { object["reason"] = .string(reason) }
        addEnd(output: description.output, failure: description.failure, to: &object)
        return .object(object)
    }

    static func addEnd(
        output: [UInt8]?, failure: WorkflowFailure?, to object: inout [String: JSONValue]
    ) {
        if let output { object["output"] = document(output) }
        if let failure {
            object["failure"] = .object([
                "type": .string(failure.type), "message": .string(failure.message),
            ])
        }
    }

    static func members(_ info: WorkflowInfo) -> [String: JSONValue] {
        var object: [String: JSONValue] = [
            "id": .string(info.workflowID), "run": .string(info.runID.description),
            "type": .string(info.type), "execution": number(info.execution),
            "version": .integer(Int64(info.version)), "status": .string(info.status.description),
            "startedAt": time(info.startedAt),
        ]
        if let finishedAt = info.finishedAt { object["finishedAt"] = time(finishedAt) }
        if let owner = info.owner { object["owner"] = number(owner.rawValue) }
        if let parent = info.parent { object["parent"] = .string(parent) }
        if let reason = info.parkedReason { object["parkedReason"] = .string(reason) }
        if let reason = info.reason { object["reason"] = .string(reason) }
        if !info.attributes.isEmpty { object["attributes"] = .object(info.attributes.mapValues(JSONValue.string)) }
        if let moment = info.cancelRequestedAt { object["cancelRequestedAt"] = time(moment) }
        return object
    }

    static func number(_ value: UInt64) -> JSONValue {
        Int64(exactly: value).map(JSONValue.integer) ?? .unsigned(value)
    }

    static func time(_ nanoseconds: Int64) -> JSONValue {
        .string(WallTime(nanoseconds: nanoseconds).rfc3339)
    }

    /// What is recorded is JSON; what another content type left is shown as text.
    static func document(_ bytes: [UInt8]) -> JSONValue {
        (try? JSONValue(parsing: bytes)) ?? .string(String(decoding: bytes, as: UTF8.self))
    }
}
