import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What the engine needs of the outside world.
struct EngineEnvironment: Sendable {
    let client: any GroupClient
    let group: GroupID
    let context: EngineContext
    /// Ring where runs of the group change.
    let bells: RunBells
}

extension EngineEnvironment {
    var checkpoints: CheckpointJournal { context.checkpoints }
    var loop: any Loop { context.loop }
    var limits: WorkflowLimits { context.limits }
    var codec: PayloadCoding { context.codec }
    var logger: FlotillaLogger { context.logger }
    var random: @Sendable () -> UInt64 { context.random }

    /// Proposes until there is an answer. Every operation of the engine may be applied twice: the second one finds
    /// that it was done.
    /// - Throws: `Refused`, `GroupError` (`tooLarge`, `stopped`, `unknownGroup`), `WorkflowError`, or
    ///   `CancellationError`.
    func proposeUntilAnswered(
        _ operation: WorkflowOperation, ownerEpoch: UInt64
    ) async throws -> OperationResult {
        let encoded = operation.encoded
        var backoff = Backoff()
        while true {
            do {
                return try result(of: try await client.propose([encoded], ownerEpoch: ownerEpoch))
            } catch let error as GroupError
                where error.code == .overloaded || error.code == .timedOut || error.code == .diskFull
            {
                logger.log(.debug, "a proposal is repeated: \(error)")
                var generator = ClosureGenerator(draw: random)
                try await loop.sleep(for: backoff.next(using: &generator))
            }
        }
    }

    /// The one result of a command with one operation.
    func result(of answer: Answer) throws -> OperationResult {
        switch try? WorkflowAnswer(answer) {
        case .applied(let results) where results.count == 1: return results[0]
        case .refused(let refusal?, let message): throw Refused(refusal, message)
        case .refused(nil, let message):
            throw WorkflowError(
                .unexpectedAnswer, "the group refused with code \(answer.code): \(message)")
        case .applied, nil:
            throw WorkflowError(
                .unexpectedAnswer, "the group's answer is not one that this version knows")
        }
    }
}

/// The engine's source of randomness as a generator.
struct ClosureGenerator: RandomNumberGenerator {
    let draw: @Sendable () -> UInt64
    mutating func next() -> UInt64 { draw() }
}
