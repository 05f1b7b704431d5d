import FlotillaIO

extension RunExecution {
    /// What of the record this node could not read, which has stopped the run here.
    var unreadable: WorkflowError? { progress.withLock { $0.unreadable } }

    /// The JSON of something that is recorded. Where this node cannot read it the run stops here, and has not failed:
    /// another node may have the key, or this one at its next start.
    func readable(_ payload: [UInt8]) throws -> [UInt8] {
        do throws(WorkflowError) {
            return try environment.codec.decode(payload)
        } catch {
            progress.withLock { $0.unreadable = error }
            if replay == nil {
                environment.logger.log(.error, "run \(key) stops on this node: \(error.message)", metadata)
            }
            throw halt(.lost)
        }
    }

    /// What the run was started with.
    func input() throws -> [UInt8] { try readable(recorded.input) }

    func readable(_ receipt: MessageReceipt) throws -> MessageReceipt {
        guard case .message(let number, .value(let payload), let sender) = receipt else { return receipt }
        return .message(number, .value(try readable(payload)), sender: sender)
    }

    func readable(_ outcome: WorkflowOutcome) throws -> WorkflowOutcome {
        guard case .completed(let payload) = outcome else { return outcome }
        return .completed(try readable(payload))
    }
}
