import FlotillaActors
import FlotillaIO

extension RunExecution {
    func setCheckpoint<Value: Codable & Sendable>(_ name: String, _ value: Value) async throws {
        try checkName(name)
        try await append(value, to: name)
    }

    func emit<Value: Codable & Sendable>(_ value: Value, to stream: String) async throws {
        try checkName(stream)
        try await append(value, to: WorkflowStreams.key(stream))
    }

    private func append<Value: Codable & Sendable>(_ value: Value, to name: String) async throws {
        let checkpoint = try begin("checkpoint", name, counter: \.checkpoints)
        defer { finish("checkpoint", name) }
        let bytes: [UInt8]
        if let known = try await recordedCheckpoint(checkpoint) {
            meet(.checkpoint, checkpoint)
            bytes = known
        } else {
            try await replay?.end(.checkpoint, checkpoint)
            bytes = try encode(value, "checkpoint \(checkpoint)")
            _ = try await propose(.setCheckpoint(address, checkpoint, value: bytes))
        }
        progress.withLock { $0.latestCheckpoints[checkpoint.name] = bytes }
    }

    /// What an earlier owner recorded; nil if none did.
    private func recordedCheckpoint(_ checkpoint: StepKey) async throws -> [UInt8]? {
        guard let latest = recorded.checkpoints[checkpoint.name], checkpoint.occurrence < latest.count else {
            return nil
        }
        if checkpoint.occurrence == latest.count - 1 { return latest.value }
        return try await record(checkpoint.occurrence, of: HistorySeries(name: checkpoint.name, end: latest.count))
            .value
    }

    /// What an earlier owner recorded of a step; nil if none did.
    func recordedStep(_ step: StepKey) async throws -> Run.Step? {
        if let known = recorded.steps[step] { return known }
        guard let archive = recorded.archives?[step.name], archive.holds(step.occurrence) else { return nil }
        let series = HistorySeries(name: StepArchive.series(of: step.name), end: archive.end)
        let record = try await record(step.occurrence, of: series)
        do throws(WireError) {
            return try record.step
        } catch {
            environment.logger.log(.error, "step \(step) in the history cannot be decoded: \(error)", metadata)
            throw halt(.shutdown)
        }
    }

    /// A record that there is. They are read in pieces, because a body asks for one after the other.
    private func record(_ number: UInt64, of series: HistorySeries) async throws -> CheckpointRecord {
        if let record = takeRead(number, of: series) { return record }
        let key = CheckpointKey(run: recorded.checkpointRun(self.key, in: environment.group), name: series.name)
        let records = try await readingCheckpoints { journal in
            try await journal.page(of: key, from: number, limit: Self.replayPage, until: series.end)
        }
        progress.withLock { $0.replayed[series.name] = records.count > 1 ? records : nil }
        return records[0]
    }

    /// Branches of a body may ask for those of one series in any order, so the ones before it stay, until the last of the
    /// piece is asked for.
    private func takeRead(_ number: UInt64, of series: HistorySeries) -> CheckpointRecord? {
        progress.withLock { progress in
            guard let read = progress.replayed[series.name], let first = read.first, number >= first.sequence,
                // Some numbers may be missing, so it is there or further to the front.
                let found = read.prefix(Int(clamping: number - first.sequence) + 1).last(where: {
                    $0.sequence <= number
                }), found.sequence == number
            else { return nil }
            if number == read.last?.sequence { progress.replayed[series.name] = nil }
            return found
        }
    }

    /// Records that are read at a time while a body is replayed.
    private static let replayPage = 256

    /// A store that fails is no failure of the run, which goes on elsewhere.
    private func readingCheckpoints<Result>(
        _ body: (CheckpointJournal) async throws -> Result
    ) async throws -> Result {
        do {
            return try await body(environment.checkpoints)
        } catch let error as LogError {
            environment.logger.log(.error, "the history of checkpoints cannot be used: \(error)", metadata)
            throw halt(.shutdown)
        }
    }

    func latestCheckpoint<Value: Codable>(_ name: String, as type: Value.Type) throws -> Value? {
        try checkName(name)
        guard let latest = progress.withLock({ $0.latestCheckpoints[ByteText(name)] }) else {
            return nil
        }
        return try decode(latest, "checkpoint '\(name)'")
    }
}
