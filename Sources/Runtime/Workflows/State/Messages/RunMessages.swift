import FlotillaIO

/// What a message says: a value in JSON, or why there is none.
enum MessageContent: Hashable, Sendable {
    case value([UInt8])
    case failure(WorkflowFailure)

    var value: [UInt8]? {
        if case .value(let value) = self { value } else { nil }
    }

    var failure: WorkflowFailure? {
        if case .failure(let failure) = self { failure } else { nil }
    }

    var byteCount: Int {
        switch self {
        case .value(let value): value.count
        case .failure(let failure): failure.message.utf8.count
        }
    }
}

/// What a run was told, what it has received of that, and what it answered. A part of the run: it goes where the run
/// goes. Times are the group's, in nanoseconds since 1970.
///
/// What was received stays, as the results of steps do: the next owner's body receives it again.
struct RunMessages: Sendable {
    struct Message: Hashable, Sendable {
        var content: MessageContent
        /// Who sent it: a name of the sender's choice. An update's is its id.
        var sender: String
        var sentAt: Int64
        /// Nil while it waits for the body.
        var takenAt: Int64?
        /// An update's.
        var reply: Reply?
    }

    struct Reply: Hashable, Sendable {
        var content: MessageContent
        var recordedAt: Int64
    }

    /// The messages of a mailbox are numbered from 0, in their order.
    struct Box: Hashable, Sendable {
        var count: UInt64 = 0
        /// How many of them the body has received.
        var takenCount: UInt64 = 0
    }

    /// The last message of a sender; all before it were heard as well.
    struct Sender: Hashable, Sendable {
        var number: UInt64
        /// Nil where a former execution has received it.
        var message: StepKey?
        var sentAt: Int64
    }

    /// The body asked for the next message of a mailbox, or waited for a condition with a time limit. Asks of a mailbox
    /// are numbered from 0.
    struct Ask: Hashable, Sendable {
        enum Outcome: Hashable, Sendable {
            /// The number of the message that it got.
            case message(UInt64)
            case timedOut
        }

        /// Nil where it waits as long as it takes.
        var deadline: Int64?
        var outcome: Outcome?
        /// Of the outcome; before it, when the wait began.
        var recordedAt: Int64
    }

    struct Awakeable: Hashable, Sendable {
        /// Whoever completes it knows this.
        var secret: [UInt8]
        var createdAt: Int64
    }

    var messages = BucketedMap<StepKey, Message>()
    var boxes = BucketedMap<ByteText, Box>()
    var senders = BucketedMap<ByteText, Sender>()
    var asks = BucketedMap<StepKey, Ask>()
    var awakeables = BucketedMap<StepKey, Awakeable>()
    /// What former executions answered, not long ago, by sender.
    var answers = BucketedMap<ByteText, Reply>()

    // MARK: Computed

    /// How many messages wait for the body, and their bytes.
    private(set) var waitingCount = 0
    private(set) var waitingBytes = 0

    /// How many things it holds, as far as their number grows.
    var recordCount: Int { messages.count + asks.count + awakeables.count }

    /// How much of it the body meets again.
    var metCount: UInt64 {
        var count = UInt64(awakeables.count)
        asks.visit { _, ask in count += ask.outcome == nil ? 0 : 1 }
        messages.visit { _, message in count += message.reply == nil ? 0 : 1 }
        return count
    }

    /// Which message the next ask of a mailbox gets; nil while there is none.
    func next(in box: Mailbox) -> UInt64? {
        let known = boxes[box.text] ?? Box()
        let next = box.kind == .awakeable ? 0 : known.takenCount
        return next < known.count ? next : nil
    }

    /// What an ask got.
    /// - Returns: nil while it has no outcome.
    func receipt(of ask: StepKey) -> MessageReceipt? {
        switch asks[ask]?.outcome {
        case nil: return nil
        case .timedOut?: return .timedOut
        case .message(let number)?:
            let key = StepKey(ask.name.text, number)
            guard let message = messages[key] else { preconditionFailure("message \(key) is gone") }
            return .message(number, message.content, sender: message.sender)
        }
    }

    // MARK: Changes

    /// Adds a message at the end of its mailbox.
    mutating func add(_ message: Message, to box: Mailbox) -> StepKey {
        var known = boxes[box.text] ?? Box()
        let key = StepKey(box.text.text, known.count)
        known.count += 1
        boxes.insert(known, for: box.text)
        restore(message, for: key)
        return key
    }

    mutating func restore(_ message: Message, for key: StepKey) {
        messages.insert(message, for: key)
        guard message.takenAt == nil else { return }
        waitingCount += 1
        waitingBytes += message.content.byteCount
    }

    /// Hands a message to an ask.
    mutating func take(_ number: UInt64, for ask: StepKey, at time: Int64) {
        let key = StepKey(ask.name.text, number)
        let bytes = messages.update(key) { message -> Int? in
            guard message.takenAt == nil else { return nil }
            message.takenAt = time
            return message.content.byteCount
        }
        guard let bytes else { preconditionFailure("there is no message \(key)") }
        if let bytes {
            waitingCount -= 1
            waitingBytes -= bytes
            boxes.update(ask.name) { $0.takenCount = number + 1 }
        }
        end(ask, with: .message(number), at: time)
    }

    mutating func end(_ ask: StepKey, with outcome: Ask.Outcome, at time: Int64) {
        var known = asks[ask] ?? Ask(recordedAt: time)
        known.outcome = outcome
        known.recordedAt = time
        asks.insert(known, for: ask)
    }
}

/// What an ask for a message got.
enum MessageReceipt: Hashable, Sendable {
    case message(UInt64, MessageContent, sender: String)
    case timedOut
}
