import FlotillaIO

// Schedules over HTTP.

extension HTTPAPI {
    func scheduleRoutes(for path: [String]) -> [(method: String, handler: Handler)]? {
        guard path.starts(with: ["v1", "schedules"]) else { return nil }
        switch path.count {
        case 2: return [("GET", listSchedules), ("POST", createSchedule)]
        case 3:
            return [
                ("GET", { try await describeSchedule(path[2], $0) }), ("PUT", { try await replace(path[2], $0) }),
                ("DELETE", { try await deleteSchedule(path[2], $0) }),
            ]
        case 4 where ["pause", "resume", "trigger", "backfill"].contains(path[3]):
            return [("POST", { try await change(path[2], path[3], $0) })]
        default: return nil
        }
    }

    private func listSchedules(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(.object(["schedules": .array(try await node.schedules().map(ScheduleJSON.value))]))
    }

    private func createSchedule(_ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: ScheduleJSON.members.union(["name", "paused"]))
        guard let name = try body.string("name") else { throw Problem.badRequest("name is missing") }
        let made = try await node.createSchedule(
            name, try ScheduleJSON.schedule(body), isPaused: body.members["paused"] == .bool(true))
        var response = HTTPResponse.json(ScheduleJSON.value(made), status: 201)
        response.headers.append((name: "Location", value: "/v1/schedules/" + PercentEncoding.encode(name)))
        return response
    }

    private func describeSchedule(_ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        return .json(ScheduleJSON.value(try await node.schedule(name)))
    }

    private func replace(_ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let schedule = try ScheduleJSON.schedule(try request.object(allowing: ScheduleJSON.members))
        return .json(ScheduleJSON.value(try await node.changeSchedule(name, .replace(schedule))))
    }

    private func deleteSchedule(_ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        try await node.deleteSchedule(name)
        return HTTPResponse(status: 204)
    }

    private func change(_ name: String, _ verb: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let names: Set<String> = verb == "pause" ? ["note"] : verb == "backfill" ? ["from", "to"] : []
        let body = try request.optionalObject(allowing: names)
        let command: ScheduleCommand
        switch verb {
        case "pause": command = .pause(note: try body.string("note") ?? "")
        case "resume": command = .resume
        case "trigger": command = .trigger
        default: command = .backfill(from: try body.moment("from"), to: try body.moment("to"))
        }
        return .json(ScheduleJSON.value(try await node.changeSchedule(name, command)))
    }
}

extension JSONObject {
    /// - Throws: 400 unless the member is a moment.
    func moment(_ name: String) throws(Problem) -> Int64 {
        guard let text = try string(name), let time = WallTime(rfc3339: text) else {
            throw .badRequest("\(name) is no moment; write \"2026-11-22T08:00:00Z\"")
        }
        return time.nanoseconds
    }
}

/// Schedules as JSON.
enum ScheduleJSON {
    static let members: Set<String> = [
        "workflow", "version", "input", "attributes", "cron", "timeZone", "everySeconds", "jitterSeconds", "overlap",
        "catchUpSeconds",
    ]

    static func schedule(_ body: JSONObject) throws(Problem) -> Schedule {
        guard let workflow = try body.string("workflow") else {
            throw .badRequest("workflow is missing: the type of the workflow that is started")
        }
        var schedule = Schedule(workflow, everySeconds: 1)
        schedule.everySeconds = try whole("everySeconds", body)
        schedule.cron = try body.string("cron")
        schedule.version = try body.version("version")
        schedule.input = body.members["input"] ?? .null
        schedule.attributes = try body.texts("attributes") ?? [:]
        schedule.timeZone = try body.string("timeZone") ?? schedule.timeZone
        schedule.jitterSeconds = try whole("jitterSeconds", body) ?? schedule.jitterSeconds
        schedule.catchUpSeconds = try whole("catchUpSeconds", body) ?? schedule.catchUpSeconds
        if let name = try body.string("overlap") {
            guard let overlap = ScheduleOverlap(rawValue: name) else {
                let known = ScheduleOverlap.allCases.map(\.rawValue).joined(separator: ", ")
                throw .badRequest("overlap \(name): there are \(known)")
            }
            schedule.overlap = overlap
        }
        return schedule
    }

    private static func whole(_ name: String, _ body: JSONObject) throws(Problem) -> Int? {
        switch body.members[name] {
        case nil, .null?: return nil
        case .integer(let number)? where number >= 0: return Int(number)
        case _?: throw .badRequest("\(name) is not a whole number of seconds")
        }
    }

    static func value(_ description: ScheduleDescription) -> JSONValue {
        let schedule = description.schedule
        var object: [String: JSONValue] = [
            "name": .string(description.name), "workflow": .string(schedule.workflow), "input": schedule.input,
            "overlap": .string(schedule.overlap.rawValue), "paused": .bool(description.isPaused),
            "jitterSeconds": .integer(Int64(schedule.jitterSeconds)),
            "catchUpSeconds": .integer(Int64(schedule.catchUpSeconds)),
            "next": .array(description.next.map(WorkflowJSON.time)), "queued": .integer(Int64(description.queued)),
            "fired": .integer(Int64(description.fired)), "skipped": .integer(Int64(description.skipped)),
            "recent": .array(
                description.recent.map { firing in
                    .object(["time": WorkflowJSON.time(firing.time), "workflow": .string(firing.workflowID)])
                }),
        ]
        if let version = schedule.version { object["version"] = .integer(Int64(version)) }
        if !schedule.attributes.isEmpty {
            object["attributes"] = .object(schedule.attributes.mapValues(JSONValue.string))
        }
        if let cron = schedule.cron {
            object["cron"] = .string(cron)
            object["timeZone"] = .string(schedule.timeZone)
        }
        if let seconds = schedule.everySeconds { object["everySeconds"] = .integer(Int64(seconds)) }
        if !description.note.isEmpty { object["note"] = .string(description.note) }
        if let running = description.running { object["running"] = .string(running) }
        if let problem = description.problem { object["problem"] = .string(problem) }
        return .object(object)
    }
}
