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

    /// What an earlier owner recorded; nil if none did. Read in pieces, because a body records it in order again.
    private func recordedCheckpoint(_ checkpoint: StepKey) async throws -> [UInt8]? {
        guard let latest = recorded.checkpoints[checkpoint.name], checkpoint.occurrence < latest.count else {
            return nil
        }
        if checkpoint.occurrence == latest.count - 1 { return latest.value }
        func ready() -> [UInt8]? {
            progress.withLock { progress in
                guard progress.replayed[checkpoint.name]?.first?.sequence == checkpoint.occurrence else { return nil }
                return progress.replayed[checkpoint.name]?.removeFirst().value
            }
        }
        if let value = ready() { return value }
        let key = CheckpointKey(
            run: recorded.checkpointRun(self.key, in: environment.group), name: checkpoint.name)
        let records = try await readingCheckpoints { journal in
            try await journal.page(
                of: key, from: checkpoint.occurrence, limit: Self.replayPage, until: latest.count)
        }
        progress.withLock { $0.replayed[checkpoint.name] = records[...] }
        return ready()
    }

    /// Checkpoints that are read at a time while a body is replayed.
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
