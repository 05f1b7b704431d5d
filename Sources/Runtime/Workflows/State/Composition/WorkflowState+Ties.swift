import FlotillaActors
import FlotillaRaft

// Runs that are tied to others. Each function checks everything before it changes anything.

extension WorkflowState {
    mutating func apply(_ operation: TieOperation, _ context: ApplyContext) throws(Refused) -> OperationResult {
        switch operation {
        case .post(let run, let post, let policy): return try self.post(run, post, policy, context)
        case .settle(let run, let number, let value, let isFailure):
            return try settle(run, number, value, isFailure: isFailure, context)
        case .takeEnd(let run, let child): return try takeEnd(run, child, context)
        case .reportEnd(let parent, let child, let value): return try reportEnd(parent, child, value, context)
        case .closeChild(let workflowID, let parent, let policy):
            return try closeChild(workflowID, parent, policy, context)
        }
    }

    // MARK: What an owner records

    private mutating func post(
        _ address: RunAddress, _ post: RunTies.Post, _ policy: ParentClosePolicy?, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        var post = post
        post.createdAt = context.time
        let result = try withOwnedRun(address, context) { run throws(Refused) in
            if let step = post.step, run.steps[step] != nil || run.ties?.number(of: step) != nil {
                return OperationResult(wasDone: true)
            }
            let (count, bytes) = (run.ties?.posts.count ?? 0, run.ties?.postBytes ?? 0)
            guard count < WorkflowLimits.postsMax, bytes + post.byteCount <= WorkflowLimits.postBytesMax,
                run.ties?.children.count ?? 0 < WorkflowLimits.childrenMax || policy == nil
            else {
                throw Refused(
                    .outboxFull,
                    "'\(address.workflowID)' has \(count) messages with \(bytes) bytes on their way, and "
                        + "\(run.ties?.children.count ?? 0) children; there may be \(WorkflowLimits.postsMax) with "
                        + "\(WorkflowLimits.postBytesMax) bytes, and \(WorkflowLimits.childrenMax) children")
            }
            let (execution, epoch) = (run.execution, run.epoch)
            run.withTies { ties in
                ties.add(post, in: epoch)
                guard let policy, let step = post.step else { return }
                let child = RunTies.Child(
                    workflowID: post.workflowID, policy: policy, execution: execution, startedAt: context.time, end: nil
                )
                ties.children.insert(child, for: step)
            }
            return OperationResult()
        }
        if !result.wasDone { noteDebt(key) }
        return result
    }

    private mutating func takeEnd(
        _ address: RunAddress, _ child: StepKey, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            let step = ChildKey.end(of: child)
            if let known = run.steps[step] { return OperationResult(wasDone: true, recordedValue: known.value) }
            guard let end = run.ties?.children[child]?.end else { return OperationResult() }
            run.withTies { _ = $0.children.remove(child) }
            run.record(end, as: step, context)
            return OperationResult(recordedValue: end)
        }
    }

    // MARK: What the leader brings

    private mutating func settle(
        _ address: RunAddress, _ number: UInt64, _ value: [UInt8]?, isFailure: Bool, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        guard let run = runs[key], run.runID == address.runID else { throw absence(of: key) }
        guard run.ties?.posts[number] != nil else { return OperationResult(wasDone: true) }
        // The last one lets a run that has ended be removed.
        transition(key) { run in
            guard let post = run.withTies({ $0.remove(number) }), let step = post.step else { return }
            // One of an earlier execution may have the same name.
            let execution = run.execution
            if isFailure, run.ties?.children[step]?.execution == execution {
                run.withTies { _ = $0.children.remove(step) }
            }
            // A run that failed may be tried again: then it would send once more what has no answer.
            let mayAsk = !run.status.isFinished || (run.status == .failed && !mutated(.forgetsAnswersOfFailedRuns))
            if mayAsk, let value { run.record(value, as: step, context) }
        }
        noteDebt(key)
        return OperationResult()
    }

    /// A parent that has ended, or gone on without the child, does not hear of it.
    private mutating func reportEnd(
        _ parent: RunTies.Parent, _ child: RunID, _ value: [UInt8], _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, parent.workflowID)
        guard let run = runs[key] else { throw absence(of: key) }
        guard run.runID == parent.runID, let known = run.ties?.children[parent.child],
            known.execution == parent.execution, known.end == nil || mutated(.takesRepeatedEnds)
        else { return OperationResult(wasDone: true) }
        update(key) { run in
            run.withTies { $0.children.update(parent.child) { $0.end = value } }
        }
        changes.told.append(key)
        return OperationResult()
    }

    private mutating func closeChild(
        _ workflowID: String, _ parent: RunID, _ policy: ParentClosePolicy, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, workflowID)
        guard let run = runs[key] else { throw absence(of: key) }
        guard run.ties?.parent?.runID == parent, !run.status.isFinished else { return OperationResult(wasDone: true) }
        switch policy {
        case .abandon: return OperationResult(wasDone: true)
        case .cancel: return try control(workflowID, .cancel, reason: Self.parentEnded, context)
        case .terminate: return try control(workflowID, .terminate, reason: Self.parentEnded, context)
        }
    }

    private static let parentEnded = "its parent has ended"

    // MARK: The end of a run

    /// Tells the children of an execution that it has ended, and, unless another one follows it, its parent.
    /// - Parameter kept: children that the next execution goes on with.
    func closingTies(_ run: Run, at time: Int64, isLast: Bool, keeping kept: Set<StepKey> = []) -> RunTies? {
        guard var ties = run.ties else { return nil }
        if mutated(.forgetsPostsAtEnd) { return isLast ? nil : ties }
        for (key, child) in ties.children.sorted()
        where child.end == nil && child.policy != .abandon && !kept.contains(key) {
            ties.add(
                RunTies.Post(workflowID: child.workflowID, content: .closeChild(child.policy), createdAt: time),
                in: run.epoch)
        }
        // A run that is tried again asks how its children ended.
        if isLast, run.status != .failed { ties.children = BucketedMap() }
        if isLast, let parent = ties.parent {
            ties.add(
                RunTies.Post(workflowID: parent.workflowID, content: .reportEnd, createdAt: time), in: run.epoch)
        }
        return ties
    }
}

/// Under what a child is recorded.
enum ChildKey {
    private static let prefix = "$child/"

    static func start(_ name: String) -> String { prefix + name }
    static func isStart(_ step: StepKey) -> Bool { step.name.text.hasPrefix(prefix) }
    static func end(of child: StepKey) -> StepKey {
        StepKey("$childEnd/" + child.name.text.dropFirst(prefix.count), child.occurrence)
    }
}
