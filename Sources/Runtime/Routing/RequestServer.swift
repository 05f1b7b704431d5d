import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Answers what other nodes ask of this one: each question is a child task, and there is a bound on their number.
final class RequestServer: Sendable {
    /// Questions that have no answer yet. Others are refused at once, and asked again elsewhere.
    static let openLimit = 4_096

    private let questions: AsyncStream<NodeQuestion>
    private let inbox: AsyncStream<NodeQuestion>.Continuation
    private let open = Lock(0)
    private let logger: FlotillaLogger

    init(logger: FlotillaLogger) {
        self.logger = logger
        (questions, inbox) = AsyncStream.makeStream()
    }

    /// - Returns: whether one more question may be worked on; then `finish` is called once it is answered.
    func admit() -> Bool {
        open.withLock { open in
            guard open < Self.openLimit else { return false }
            open += 1
            return true
        }
    }

    func finish() { open.withLock { $0 -= 1 } }

    /// Until the task is cancelled.
    func run(_ services: NodeServices) async {
        await services.core.setRequestHandler { question in
            guard self.admit() else { return question.answer(nil) }
            guard case .enqueued = self.inbox.yield(question) else { return self.refuse(question) }
        }
        await withDiscardingTaskGroup { group in
            for await question in questions {
                let isTaken = group.addTaskUnlessCancelled {
                    await self.answer(question, services)
                    self.finish()
                }
                if !isTaken { refuse(question) }
            }
        }
        await services.core.setRequestHandler(nil)
        inbox.finish()
        for await question in questions { refuse(question) }
    }

    private func refuse(_ question: NodeQuestion) {
        question.answer(nil)
        finish()
    }

    private func answer(_ question: NodeQuestion, _ services: NodeServices) async {
        var reply = await reply(to: question, services).encoded
        if reply.count > NodeCore.requestBytesMax {
            reply =
                ReplyEnvelope.failed(
                    RemoteFailure(
                        WorkflowError(
                            .resultTooLarge,
                            "the answer takes \(reply.count) bytes, of \(NodeCore.requestBytesMax) at most between nodes: "
                                + "ask a node of the run's own cluster, or page by page"))
                ).encoded
        }
        question.answer(reply)
    }

    private func reply(to question: NodeQuestion, _ services: NodeServices) async -> ReplyEnvelope {
        do {
            let request = try RequestEnvelope(decoding: question.body)
            guard let group = request.group else {
                guard let handler = KnownRequests.all.nodes[request.name] else { return unknown(request) }
                return try await handler(request.body, services)
            }
            guard let handler = KnownRequests.all.runs[request.name] else { return unknown(request) }
            guard let engine = try services.clusters.runningEngine(of: group) else {
                return .notHere("\(services.core.node) has no replica of \(group)")
            }
            return try await handler(request.body, engine)
        } catch {
            logger.debug("a request of another node failed", ["node": "\(question.node)", "error": "\(error)"])
            return .failed(RemoteFailure(error))
        }
    }

    private func unknown(_ request: RequestEnvelope) -> ReplyEnvelope {
        .failed(
            RemoteFailure(
                WorkflowError(.unexpectedAnswer, "this node does not know the request '\(request.name)': upgrade it")))
    }
}
