public import Flotilla
import FlotillaIO
import FlotillaRaft

// Workflows as a client sees them that knows all nodes and does not die with one.
//
// Together with `addNode`, `eventLog` and `verifyDeterminism` these are the verbs of a cluster simulation:
// add_coordinator is `addNode(workflows: [])`, add_workers(3) is three times `addNode(workflows:)`, submit_workflow is
// `submit`, run_until_complete is `runUntilComplete`, get_event_log is `eventLog`, verify_determinism is
// `verifyDeterminism`.

extension SimulatedCluster {
    /// How long the client waits for one node before it asks another.
    static let patience: Duration = .seconds(5)

    /// Starts a workflow on whichever node takes it, and asks again until one has. Its handle finds the result on
    /// whichever node has it: unlike the one that `Node.start` returns, it outlives every node.
    /// - Throws: `WorkflowError` where the cluster refuses the start.
    @discardableResult
    public func submit<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input
    ) async throws -> WorkflowRun<Output> {
        let started = try await ask { node in try await node.start(workflow, id: id, input: input).started }
        note("run '\(id)' of \(workflow.type) is started", node: nil)
        return WorkflowRun(started) { timeout in try await self.result(of: id, as: Output.self, timeout: timeout) }
    }

    /// Does something to a run by whichever node takes it, and asks again until one has: cancels, terminates, pauses or
    /// resumes it, or runs a failed one again.
    /// - Throws: `WorkflowError` with `notFound` or `wrongState`.
    @discardableResult
    public func control(_ id: String, _ action: WorkflowAction, reason: String = "") async throws -> WorkflowInfo {
        let info = try await ask { node in try await node.control(id, action, reason: reason) }
        note("run '\(id)': \(action)", node: nil)
        return info
    }

    /// Waits for a run's end, on whichever node knows it.
    /// - Parameter timeout: nil waits as long as the simulation may take.
    /// - Throws: `WorkflowError` with `failed`, `notFound`, `timedOut` or `undecodableResult`.
    public func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration? = nil
    ) async throws -> Output {
        let deadline = timeout.map { world.now.advanced(by: $0) }
        while true {
            do {
                let result = try await ask { node in
                    try await node.result(of: id, as: type, timeout: Self.patience)
                }
                note("run '\(id)' has completed", node: nil)
                return result
            } catch let error as WorkflowError where error.code == .timedOut {
                if let deadline, world.now >= deadline { throw error }
            }
        }
    }

    /// Waits until no run of the cluster is left that has not ended.
    /// - Throws: `SimulationError` (`conditionNotMet`) after `limit`.
    public func runUntilComplete(within limit: Duration = .seconds(600)) async throws {
        try await wait(until: "all runs have ended", within: limit) {
            try await ask { node in
                for status in WorkflowStatus.allCases where !status.isFinished {
                    let page = try await node.list(WorkflowFilter(status: status), limit: 1)
                    guard page.runs.isEmpty, !page.isPartial else { return false }
                }
                return true
            }
        }
        note("all runs have ended", node: nil)
    }

    /// The node that runs a workflow now; nil while none does, and once it has ended.
    /// - Throws: `WorkflowError` with `notFound`.
    public func owner(of id: String) async throws -> Int? {
        let info = try await ask { node in try await node.describe(id).info }
        return info.status == .running ? info.owner.map { Int($0.rawValue) } : nil
    }

    /// Waits until all nodes that run have applied the same entries, and compares what they made of them.
    /// - Throws: `SimulationError` (`conditionNotMet`) after `limit`, and `diverged` where two states differ at one index.
    public func untilConverged(within limit: Duration = .seconds(60)) async throws {
        try await wait(until: "equal indexes on all running nodes", within: limit) {
            var hashes: [UInt64: [UInt64: (node: Int, hash: String?)]] = [:]
            for number in runningNodes {
                guard let status = try? await node(number).status(withHashes: true) else { return false }
                for group in status.groups {
                    let known = hashes[group.group]?[group.appliedIndex]
                    guard let known else {
                        hashes[group.group, default: [:]][group.appliedIndex] = (number, group.stateHash)
                        continue
                    }
                    guard known.hash == group.stateHash else {
                        throw world.error(
                            .diverged,
                            "node \(known.node) and node \(number) have different states of group \(group.group) at "
                                + "index \(group.appliedIndex)")
                    }
                }
            }
            return hashes.values.allSatisfy { $0.count == 1 }
        }
    }

    /// Asks running nodes, picked by the seed, until one answers.
    package func ask<Answer: Sendable>(
        _ question: @escaping @Sendable (Node) async throws -> Answer
    ) async throws -> Answer {
        while true {
            if let number = pickRunningNode(), let node = try? node(number) {
                do {
                    return try await question(node)
                } catch let error as WorkflowError where Self.isTemporary(error) {
                    // The next one may know better.
                } catch is NodeError {
                    // It stops, or has not started yet.
                }
            }
            try await world.sleep(for: .milliseconds(50))
        }
    }

    private func pickRunningNode() -> Int? {
        let running = runningNodes
        return running.isEmpty ? nil : running[Int(world.random(below: UInt64(running.count)))]
    }

    private static func isTemporary(_ error: WorkflowError) -> Bool {
        switch error.code {
        case .stopped, .unavailable, .overloaded, .diskFull, .mailboxFull: true
        case .duplicateStep, .resultTooLarge, .invalidName, .unencodable, .undecodableInput, .undecodableResult,
            .contextEnded, .inputTooLarge, .invalidInput, .conflict, .unknownWorkflow, .notFound, .wrongState,
            .cancelled, .terminated, .stepFailed, .stepTimedOut, .invalidPage, .failed, .timedOut, .duplicateWorkflow,
            .unexpectedAnswer, .rejected, .unknownQuery, .invalidAttribute, .outboxFull, .compensationFailed,
            .messageOutOfOrder, .alreadyCompleted, .unknownPayloadKey, .damagedPayload, .payloadUnavailable,
            .tooManyWorkflows, .unknownMethod:
            false
        }
    }
}
