import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Answers what other nodes ask of this one. Questions wait in a bounded inbox; each that is taken is a child task.
final class RequestServer: Sendable {
    /// Questions that may wait to be taken, and that may be worked on; others are refused, and asked again elsewhere.
    static let inboxLimit = 4_096

    private let questions: AsyncStream<NodeQuestion>
    private let inbox: AsyncStream<NodeQuestion>.Continuation
    private let logger: FlotillaLogger

    init(logger: FlotillaLogger) {
        self.logger = logger
        (questions, inbox) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.inboxLimit))
    }

    /// Until the task is cancelled.
    func run(_ services: NodeServices) async {
        let inbox = inbox
        await services.core.setRequestHandler { question in
            switch inbox.yield(question) {
            case .enqueued: break
            case .dropped, .terminated: question.answer(nil)
            @unknown default: question.answer(nil)
            }
        }
        await withDiscardingTaskGroup { group in
            for await question in questions {
                let isTaken = group.addTaskUnlessCancelled { await self.answer(question, services) }
                if !isTaken { question.answer(nil) }
            }
        }
        await services.core.setRequestHandler(nil)
        inbox.finish()
        for await question in questions { question.answer(nil) }
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
