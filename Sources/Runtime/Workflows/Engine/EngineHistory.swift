import FlotillaActors
import FlotillaIO

// What runs have recorded, read back from any node.

extension WorkflowEngine {
    /// A page of the values that a run has recorded under a key, in their order.
    /// - Parameters:
    ///   - start: the number of the first; they are counted from 0. Those that did not come along when the run moved to
    ///     another group are left out.
    ///   - limit: at most `WorkflowLimits.listLimitMax`; more is cut to that.
    /// - Throws: as `describe`; `unavailable` also where this node's store cannot be read.
    public func checkpoints(
        _ name: String, of id: String, from start: UInt64 = 0, limit: Int = 100
    ) async throws -> CheckpointPage {
        let key = RunKey(defaultNamespace, id)
        let run = try await recordedRun(key)
        let checkpoint = run.checkpoints[ByteText(name)]
        let (start, count) = (max(start, checkpoint?.first ?? 0), checkpoint?.count ?? 0)
        let owner = run.checkpointRun(key, in: environment.group)
        let records = try await readingHistory(of: run, key) { journal in
            try await journal.page(
                of: CheckpointKey(run: owner, name: ByteText(name)), from: start,
                limit: max(1, min(limit, WorkflowLimits.listLimitMax)), until: count)
        }
        let next = start + UInt64(records.count)
        return CheckpointPage(
            checkpoints: records.map {
                CheckpointPage.Checkpoint(
                    number: $0.sequence, value: environment.codec.shown($0.value), recordedAt: $0.recordedAt)
            }, next: next < count ? next : nil)
    }

    /// What a run has recorded, in the order of the group's time, page by page.
    /// - Parameters:
    ///   - after: what the page before named as `next`; nil begins with the first event.
    ///   - limit: at most `WorkflowLimits.listLimitMax` events; more is cut to that.
    ///   - withValues: also what was recorded, and input and output. Such a page ends early, behind 4 MiB of values.
    /// - Throws: as `describe`; `invalidPage` where `after` is nothing that a page has named; `unavailable` also where
    ///   this node's store of checkpoints cannot be read.
    public func history(
        of id: String, after: String? = nil, limit: Int = 100, withValues: Bool = false
    ) async throws -> WorkflowHistory {
        var position: EventPosition?
        if let after {
            position = EventPosition(token: after)
            guard position != nil else {
                throw WorkflowError(
                    .invalidPage, "'\(after)' is not where a page begins; take 'next' of the page before it")
            }
        }
        let key = RunKey(defaultNamespace, id)
        let run = try await recordedRun(key)
        let owner = run.checkpointRun(key, in: environment.group)
        let reader = HistoryReader(
            run: run, owner: owner, after: position, limit: max(1, min(limit, WorkflowLimits.listLimitMax)))
        let (events, next) = try await readingHistory(of: run, key) { journal in
            guard run.hasHistory else { return try reader.page(nil, withValues: withValues) }
            return try await journal.read { store throws(LogError) in
                try reader.page(store, withValues: withValues)
            }
        }
        return WorkflowHistory(run, key: key, withValues: withValues, events: events, next: next?.token)
            .shown(by: environment.codec)
    }

    /// All that a run has recorded, with the values: what `replay(history:against:)` takes. It is held in memory as a
    /// whole.
    /// - Throws: as `history(of:after:limit:withValues:)`.
    public func wholeHistory(of id: String) async throws -> WorkflowHistory {
        try await WorkflowHistory.whole(of: id) { after in
            try await self.history(of: id, after: after, limit: WorkflowLimits.listLimitMax, withValues: true)
        }
    }

    /// A run that was removed meanwhile is missing, and its records are: then that is the error.
    func readingHistory<Result>(
        of run: Run, _ key: RunKey, _ body: (CheckpointJournal) async throws -> Result
    ) async throws -> Result {
        do {
            return try await body(environment.checkpoints)
        } catch let error as LogError {
            let known = try await environment.withMachine { $0.state.runs[key] }
            guard let known, known.runID == run.runID, known.execution == run.execution else {
                throw notFound(key.workflowID.text)
            }
            throw WorkflowError(
                .unavailable, "the checkpoints of '\(key.workflowID)' cannot be read here: \(error.message)")
        }
    }
}

extension WorkflowHistory {
    /// All pages as one.
    static func whole(
        of id: String, page: (_ after: String?) async throws -> WorkflowHistory
    ) async throws -> WorkflowHistory {
        var whole = try await page(nil)
        while let next = whole.next {
            var more = try await page(next)
            guard more.info.runID == whole.info.runID else {
                throw WorkflowError(.notFound, "the run of '\(id)' was removed while its history was read")
            }
            more.events = whole.events + more.events
            whole = more
        }
        return whole
    }
}
