import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Answers what clients ask of a node: each request is a child task, and there is a bound on their number.
final class ClientService: Sendable {
    /// Requests of all clients that have no answer yet; others are refused at once.
    static let openLimit = 65_536

    /// Where it listens, with the port that was chosen.
    let address: String
    private let server: ClientServer
    private let calls: AsyncStream<ClientCall>
    private let inbox: AsyncStream<ClientCall>.Continuation
    private let open: Lock<Int>

    private init(
        _ started: (server: ClientServer, address: String), calls: AsyncStream<ClientCall>,
        inbox: AsyncStream<ClientCall>.Continuation, open: Lock<Int>
    ) {
        (server, address) = started
        (self.calls, self.inbox, self.open) = (calls, inbox, open)
    }

    /// Listens. Requests are answered while `run` runs.
    static func start(
        on address: String, _ identity: NodeIdentity, loop: any Loop, network: any Network
    ) async throws(NetworkError) -> ClientService {
        // No bound of its own: what is in it counts as open.
        let (calls, inbox) = AsyncStream<ClientCall>.makeStream()
        let open = Lock(0)
        let started = try await ClientServer.start(
            on: address, loop: loop, network: network, node: identity.node, cluster: identity.cluster
        ) { call in
            let isAdmitted = open.withLock { open in
                guard open < openLimit else { return false }
                open += 1
                return true
            }
            guard isAdmitted else {
                return call.answer(
                    .failure(
                        WorkflowError(.overloaded, "\(openLimit) requests of clients wait on this node already")))
            }
            guard case .enqueued = inbox.yield(call) else {
                open.withLock { $0 -= 1 }
                return call.answer(.failure(Self.stopping))
            }
        }
        return ClientService(started, calls: calls, inbox: inbox, open: open)
    }

    private static let stopping = WorkflowError(.stopped, "this node stops; ask another one")

    /// Until the task is cancelled: that ends the stream, and what it still holds is refused.
    func run(_ router: WorkflowRouter) async {
        await withDiscardingTaskGroup { group in
            for await call in calls {
                let isTaken = group.addTaskUnlessCancelled {
                    self.finish(call, await Self.answer(call, router))
                }
                if !isTaken { finish(call, .failure(Self.stopping)) }
            }
        }
        await server.stop()
    }

    private func finish(_ call: ClientCall, _ result: Result<[UInt8], any Error>) {
        open.withLock { $0 -= 1 }
        call.answer(result)
    }

    private static func answer(_ call: ClientCall, _ router: WorkflowRouter) async -> Result<[UInt8], any Error> {
        do {
            switch call.name {
            case ClientStart.name:
                let start = try ClientStart(decoding: call.body)
                // Nil would make an id, and a start that is sent again another run.
                guard !start.id.isEmpty else {
                    throw WorkflowError(.invalidName, "a client's start names the id of its run")
                }
                let started = try await router.start(
                    type: start.type, version: start.version, id: start.id, input: try canonical(start.input),
                    attributes: start.attributes)
                return .success(started.encodedForClients)
            case ClientResult.name:
                let result = try ClientResult(decoding: call.body)
                let outcome = try await router.outcome(
                    of: result.id, timeout: min(result.wait, WorkflowRouter.waitMax))
                return .success(ClientOutcome(outcome: outcome).encoded)
            default:
                throw WorkflowError(
                    .unexpectedAnswer, "this node does not know the request '\(call.name)': upgrade it")
            }
        } catch {
            return .failure(error)
        }
    }

    /// Equal inputs are equal bytes.
    private static func canonical(_ input: [UInt8]) throws -> [UInt8] {
        do throws(JSONError) {
            return try JSONValue(parsing: input).canonicalBytes
        } catch {
            throw WorkflowError(.invalidInput, "the input is not JSON: \(error.message)")
        }
    }
}
