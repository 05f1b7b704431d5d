import FlotillaIO
public import FlotillaRaft

/// What one node asks another, beside consensus. The runtime says what question and answer mean.
struct NodeRequest: Hashable, Sendable {
    /// Tells the answer to this question from those to others. The asker's own.
    var number: UInt64
    var body: [UInt8]
}

struct NodeAnswer: Hashable, Sendable {
    var number: UInt64
    /// Nil: nobody at the other end takes requests yet, or any more.
    var body: [UInt8]?
}

/// Why a question to another node has no answer.
public struct NodeRequestError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// There is no connection: nothing was asked.
        case notConnected
        /// The other node takes no requests: nothing was done.
        case refused
        /// More bytes than one frame takes.
        case tooLarge
        /// Too many questions wait for an answer: nothing was asked.
        case overloaded
        /// The connection broke, or the time is over. What was asked may have been done.
        case unknownOutcome
    }
    public var code: Code
    public var node: NodeID
    public var description: String {
        switch code {
        case .notConnected: "there is no connection to \(node)"
        case .refused: "\(node) does not take requests now"
        case .tooLarge: "a request to \(node) is larger than \(Transport.requestBytesMax) bytes"
        case .overloaded: "\(Transport.requestsMax) requests wait for other nodes already; try again later"
        case .unknownOutcome: "\(node) has not answered; it may have done what it was asked"
        }
    }
}

/// Questions of this node that wait for their answers.
struct PendingNodeRequests {
    struct Item {
        var node: NodeID
        var deadline: MonotonicTime
        var completion: Completion<[UInt8]>
    }
    private(set) var items: [UInt64: Item] = [:]
    private var last: UInt64 = 0

    mutating func add(_ item: Item) -> UInt64 {
        last += 1
        items[last] = item
        return last
    }

    mutating func remove(_ number: UInt64) -> Item? { items.removeValue(forKey: number) }

    /// In the order in which they were asked.
    mutating func removeAll(where isOver: (Item) -> Bool) -> [Item] {
        guard !items.isEmpty else { return [] }
        let over = items.filter { isOver($0.value) }.sorted { $0.key < $1.key }
        for (number, _) in over { items[number] = nil }
        return over.map(\.value)
    }
}

extension Transport {
    /// Leaves room in the frame for what stands around the body.
    static let requestBytesMax = FrameCodec.payloadBytesMax - 1024
    static let requestsMax = 16_384

    func ask(_ node: NodeID, _ body: [UInt8], deadline: MonotonicTime, _ completion: Completion<[UInt8]>) {
        func fail(_ code: NodeRequestError.Code) {
            completion.finish(.failure(NodeRequestError(code: code, node: node)))
        }
        guard body.count <= Self.requestBytesMax else { return fail(.tooLarge) }
        guard let link = peers[node]?.link else { return fail(.notConnected) }
        guard requests.items.count < Self.requestsMax else { return fail(.overloaded) }
        let number = requests.add(.init(node: node, deadline: deadline, completion: completion))
        if !transmit(.request(NodeRequest(number: number, body: body)), over: link) {
            _ = requests.remove(number)
            fail(.overloaded)
        }
    }

    func receive(_ request: NodeRequest, from node: NodeID) {
        guard let requestHandler else { return answer(request.number, nil, to: node) }
        requestHandler(
            NodeQuestion(node: node, body: request.body) { body in
                self.loop.execute { self.assumeOnLoop { $0.answer(request.number, body, to: node) } }
            })
    }

    private func answer(_ number: UInt64, _ body: [UInt8]?, to node: NodeID) {
        guard let link = peers[node]?.link else { return }
        precondition((body?.count ?? 0) <= Self.requestBytesMax, "an answer of \(body?.count ?? 0) bytes to \(node)")
        transmit(.answer(NodeAnswer(number: number, body: body)), over: link)
    }

    func receive(_ answer: NodeAnswer, from node: NodeID) {
        guard let item = requests.remove(answer.number) else { return }
        item.completion.finish(
            answer.body.map { .success($0) } ?? .failure(NodeRequestError(code: .refused, node: node)))
    }

    /// With every beat: whoever waits too long, or not any more.
    func expireRequests(_ now: MonotonicTime) {
        failRequests { $0.deadline <= now || $0.completion.isFinished }
    }

    func failRequests(where isOver: (PendingNodeRequests.Item) -> Bool) {
        for item in requests.removeAll(where: isOver) {
            item.completion.finish(.failure(NodeRequestError(code: .unknownOutcome, node: item.node)))
        }
    }
}

/// What another node asks, and the way to answer it.
public struct NodeQuestion: Sendable {
    public let node: NodeID
    public let body: [UInt8]
    /// Answers; nil says that it is not taken. To be called once, from any thread.
    public let answer: @Sendable ([UInt8]?) -> Void
}

extension NodeCore {
    /// What a question and its answer may take.
    public static let requestBytesMax = Transport.requestBytesMax

    /// Asks another node, and waits for its answer.
    /// - Parameter timeout: after which the outcome counts as unknown.
    /// - Throws: `NodeRequestError`; `CancellationError`, and then the outcome is unknown too.
    public func ask(_ node: NodeID, _ body: [UInt8], timeout: Duration) async throws -> [UInt8] {
        let completion = Completion<[UInt8]>()
        loop.execute { [transport, loop] in
            transport.assumeOnLoop {
                $0.ask(node, body, deadline: loop.now.advanced(by: timeout), completion)
            }
        }
        return try await completion.wait()
    }

    /// - Parameter handler: called on the loop for each question; must not block. Nil ends that.
    public func setRequestHandler(_ handler: (@Sendable (NodeQuestion) -> Void)?) async {
        await onLoop { [transport] in transport.assumeOnLoop { $0.requestHandler = handler } }
    }
}
