import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension NodeStewardWorld: PostWorld {
    /// How a child ended is told up to so many bytes: with what encoding adds it fits into a request and a command.
    private static var endBytesMax: Int { 5_600_000 }

    func bring(_ delivery: PostDelivery) async throws -> PostOutcome {
        do {
            return try await deliver(delivery)
        } catch let error as WorkflowError where error.code.isFinal {
            return PostOutcome(error)
        }
    }

    private func deliver(_ delivery: PostDelivery) async throws -> PostOutcome {
        let id = delivery.post.workflowID
        switch delivery.post.content {
        case .signal(let name, let value):
            let sender = "\(RunMessages.Sender.singlePrefix)run/\(delivery.runID)/\(delivery.number)"
            _ = try await router.perform(
                SendSignal(id: id, signal: name, value: value, sender: sender, number: 1), on: id)
        case .startChild(let type, let input, let attributes):
            guard let parent = delivery.childsParent else { return PostOutcome() }
            let started = try await router.start(
                type: type.name, version: type.version, id: id, input: input, attributes: attributes.texts,
                parent: parent, trace: delivery.trace)
            return PostOutcome(runID: started.runID)
        case .closeChild(let policy):
            _ = try await router.perform(CloseChild(id: id, parent: delivery.runID, policy: policy), on: id)
        case .reportEnd:
            // A run that was tried again has not ended any more.
            guard let parent = delivery.parent, let end = delivery.end else { return PostOutcome() }
            let report = ReportChildEnd(parent: parent, child: delivery.runID, outcome: try Self.encoded(end))
            _ = try await router.perform(report, on: id)
        }
        return PostOutcome()
    }

    private static func encoded(_ end: WorkflowOutcome) throws -> [UInt8] {
        let bytes = try JSONCoding.encode(end)
        guard bytes.count > endBytesMax else { return bytes }
        let error = WorkflowError(
            .resultTooLarge,
            "the child's result takes \(bytes.count) bytes encoded, too many to be told; ask the child for it")
        return try JSONCoding.encode(WorkflowOutcome.failed(WorkflowFailure(error)))
    }
}

extension WorkflowError.Code {
    /// Whether the same request would come to the same however often it is made.
    fileprivate var isFinal: Bool {
        switch self {
        case .notFound, .wrongState, .conflict, .unknownWorkflow, .invalidName, .invalidInput, .inputTooLarge,
            .invalidAttribute:
            true
        case .duplicateStep, .resultTooLarge, .unencodable, .undecodableInput, .undecodableResult, .contextEnded,
            .stepFailed, .stepTimedOut, .cancelled, .outboxFull, .compensationFailed, .rejected, .mailboxFull,
            .messageOutOfOrder, .unknownQuery, .alreadyCompleted, .invalidPage, .diskFull, .failed, .terminated,
            .timedOut, .overloaded, .unavailable, .stopped, .duplicateWorkflow, .unexpectedAnswer,
            .unknownPayloadKey, .damagedPayload, .payloadUnavailable, .tooManyWorkflows, .unknownMethod:
            false
        }
    }
}
