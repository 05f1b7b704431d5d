import FlotillaActors
import FlotillaIO

// What the group knows of its runs, told to whoever asks.

extension WorkflowEngine {
    /// All that is known of a run, as of a moment after the call.
    /// - Throws: `WorkflowError` with `notFound`, `unavailable` or `stopped`; `CancellationError`.
    public func describe(_ id: String) async throws -> WorkflowDescription {
        let key = RunKey(defaultNamespace, id)
        let run = try await recordedRun(key)
        return WorkflowDescription(run, key: key).shown(by: environment.codec)
    }

    /// The latest value that a run has recorded under a key.
    /// - Throws: as `describe`, and `undecodableResult`.
    public func checkpoint<Value: Decodable & Sendable>(
        _ name: String, of id: String, as type: Value.Type
    ) async throws -> Value? {
        let run = try await recordedRun(RunKey(defaultNamespace, id))
        guard let checkpoint = run.checkpoints[ByteText(name)] else { return nil }
        let value = try environment.codec.decode(checkpoint.value)
        do {
            return try JSONCoding.decode(type, from: value)
        } catch {
            throw WorkflowError(
                .undecodableResult, "checkpoint '\(name)' of '\(id)' is not a \(type): \(error)")
        }
    }

    /// A page of the runs in the order of their starts.
    /// - Parameters:
    ///   - after: what the page before named as `next`; nil begins with the oldest run.
    ///   - limit: at most `WorkflowLimits.listLimitMax`; more is cut to that.
    /// - Throws: as `describe`; `invalidPage` where `after` is nothing that a page has named.
    public func list(
        _ filter: WorkflowFilter = WorkflowFilter(), after: String? = nil, limit: Int = 100
    ) async throws -> WorkflowPage {
        // A sequence number, which outlives its run.
        guard let position = after.map({ UInt64($0) }) ?? 0 else {
            throw WorkflowError(
                .invalidPage, "'\(after ?? "")' is not where a page begins; take 'next' of the page before it")
        }
        let asOf = environment.loop.wallNow.nanoseconds
        let (runs, next) = try await list(filter, after: position, limit: limit)
        return WorkflowPage(runs: runs.map(\.info), next: next.map { "\($0)" }, asOf: asOf)
    }

    /// - Returns: with where to go on; nil at the end.
    func list(
        _ filter: WorkflowFilter, after position: UInt64, limit: Int
    ) async throws -> (runs: [ListedRun], next: UInt64?) {
        let limit = max(1, min(limit, WorkflowLimits.listLimitMax))
        return try await namingErrors { [environment] in
            try await environment.client.barrier()
            var runs: [ListedRun] = []
            var position = position
            while true {
                let (start, rest) = (position, limit - runs.count)
                let look = try await environment.withMachine { machine in
                    machine.state.list(
                        namespace: defaultNamespace, filter, after: start, limit: rest,
                        examine: WorkflowLimits.listExamineMax)
                }
                runs += look.runs
                position = look.position
                if look.isAtEnd { return (runs, nil) }
                if runs.count == limit {
                    return (runs, position)
                }
            }
        }
    }

    /// How many runs there are, as of one moment after the call.
    /// - Throws: as `describe`.
    public func count(_ filter: WorkflowFilter = WorkflowFilter()) async throws -> WorkflowCount {
        let asOf = environment.loop.wallNow.nanoseconds
        let census = try await namingErrors { [environment] in
            try await environment.client.barrier()
            return try await environment.withMachine { RunCensus($0.state) }
        }
        return WorkflowCount(byStatus: census.count(filter), asOf: asOf)
    }
}
