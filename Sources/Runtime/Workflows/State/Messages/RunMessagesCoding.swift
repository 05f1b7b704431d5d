import FlotillaIO

// What a run was told, in a snapshot.

extension RunMessages {
    func write(to writer: inout ProtobufWriter) {
        for (key, message) in messages.sorted() {
            writer.message(1) { writer in
                writer.string(1, key.name.text)
                writer.varint(2, key.occurrence)
                writer.string(3, message.sender)
                writer.signed(4, message.sentAt)
                message.content.write(to: &writer)
                if let takenAt = message.takenAt { writer.varintAlways(7, UInt64(bitPattern: takenAt)) }
                if let reply = message.reply {
                    writer.message(8) { reply.write(to: &$0) }
                }
            }
        }
        for (name, sender) in senders.sorted() {
            writer.message(2) { writer in
                writer.string(1, name.text)
                writer.varint(2, sender.number)
                if let message = sender.message {
                    writer.string(3, message.name.text)
                    writer.varint(4, message.occurrence)
                }
                writer.signed(5, sender.sentAt)
            }
        }
        for (key, ask) in asks.sorted() {
            writer.message(3) { writer in
                writer.string(1, key.name.text)
                writer.varint(2, key.occurrence)
                writer.signed(3, ask.recordedAt)
                if let deadline = ask.deadline { writer.varintAlways(4, UInt64(bitPattern: deadline)) }
                switch ask.outcome {
                case nil: break
                case .timedOut?: writer.bool(5, true)
                case .message(let number)?: writer.varintAlways(6, number)
                }
            }
        }
        for (key, awakeable) in awakeables.sorted() {
            writer.message(4) { writer in
                writer.string(1, key.name.text)
                writer.varint(2, key.occurrence)
                writer.bytes(3, awakeable.secret)
                writer.signed(4, awakeable.createdAt)
            }
        }
        for (name, reply) in answers.sorted() {
            writer.message(5) { writer in
                writer.string(1, name.text)
                writer.message(2) { reply.write(to: &$0) }
            }
        }
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        while let field = try reader.next() {
            var inner = try reader.message()
            switch field {
            case 1: try readMessage(from: &inner)
            case 2: try readSender(from: &inner)
            case 3: try readAsk(from: &inner)
            case 4: try readAwakeable(from: &inner)
            case 5: try readAnswer(from: &inner)
            default: throw reader.unknownField(in: "the messages of a run")
            }
        }
        // Messages come in their order, so the highest number of a mailbox is the last.
        for (name, box) in boxes.members where box.takenCount > box.count {
            throw WireError(.invalidValue, "more messages of \(name) were received than there are")
        }
    }

    private mutating func readMessage(from reader: inout ProtobufReader) throws(WireError) {
        var (name, number) = ("", UInt64(0))
        var message = Message(content: .value([]), sender: "", sentAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: number = try reader.varint()
            case 3: message.sender = try reader.string()
            case 4: message.sentAt = try reader.signed()
            case 5, 6: message.content = try MessageContent(field, from: &reader)
            case 7: message.takenAt = Int64(bitPattern: try reader.varint())
            case 8:
                var inner = try reader.message()
                message.reply = try Reply(from: &inner)
            default: throw reader.unknownField(in: "a message")
            }
        }
        var box = boxes[ByteText(name)] ?? Box()
        guard Mailbox(ByteText(name)) != nil, number == box.count else {
            throw WireError(.invalidValue, "message \(number) of '\(name)' comes behind \(box.count) others")
        }
        box.count += 1
        if message.takenAt != nil { box.takenCount = box.count }
        boxes.insert(box, for: ByteText(name))
        restore(message, for: StepKey(name, number))
    }

    private mutating func readSender(from reader: inout ProtobufReader) throws(WireError) {
        var (sender, number, name, occurrence) = ("", UInt64(0), String?.none, UInt64(0))
        var sentAt: Int64 = 0
        while let field = try reader.next() {
            switch field {
            case 1: sender = try reader.string()
            case 2: number = try reader.varint()
            case 3: name = try reader.string()
            case 4: occurrence = try reader.varint()
            case 5: sentAt = try reader.signed()
            default: throw reader.unknownField(in: "a sender of messages")
            }
        }
        let message = name.map { StepKey($0, occurrence) }
        senders.insert(Sender(number: number, message: message, sentAt: sentAt), for: ByteText(sender))
    }

    private mutating func readAnswer(from reader: inout ProtobufReader) throws(WireError) {
        var sender = ""
        var reply = Reply(content: .value([]), recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: sender = try reader.string()
            case 2:
                var inner = try reader.message()
                reply = try Reply(from: &inner)
            default: throw reader.unknownField(in: "an answer of a former execution")
            }
        }
        answers.insert(reply, for: ByteText(sender))
    }

    private mutating func readAsk(from reader: inout ProtobufReader) throws(WireError) {
        var (name, occurrence) = ("", UInt64(0))
        var ask = Ask(recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: ask.recordedAt = try reader.signed()
            case 4: ask.deadline = Int64(bitPattern: try reader.varint())
            case 5: ask.outcome = try reader.bool() ? .timedOut : nil
            case 6: ask.outcome = .message(try reader.varint())
            default: throw reader.unknownField(in: "an ask for a message")
            }
        }
        if case .message(let number)? = ask.outcome, messages[StepKey(name, number)] == nil {
            throw WireError(.invalidValue, "message \(number) of '\(name)' was received, and is not there")
        }
        asks.insert(ask, for: StepKey(name, occurrence))
    }

    private mutating func readAwakeable(from reader: inout ProtobufReader) throws(WireError) {
        var (name, occurrence) = ("", UInt64(0))
        var awakeable = Awakeable(secret: [], createdAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: awakeable.secret = try reader.bytes()
            case 4: awakeable.createdAt = try reader.signed()
            default: throw reader.unknownField(in: "an awakeable")
            }
        }
        awakeables.insert(awakeable, for: StepKey(name, occurrence))
    }
}

extension RunMessages.Reply {
    fileprivate func write(to writer: inout ProtobufWriter) {
        writer.signed(1, recordedAt)
        content.write(to: &writer)
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(content: .value([]), recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: recordedAt = try reader.signed()
            case 5, 6: content = try MessageContent(field, from: &reader)
            default: throw reader.unknownField(in: "an answer")
            }
        }
    }
}

extension MessageContent {
    /// - Parameter field: 5 for a value, else a failure.
    init(_ field: Int, from reader: inout ProtobufReader) throws(WireError) {
        guard field != 5 else {
            self = .value(try reader.bytes())
            return
        }
        var inner = try reader.message()
        self = .failure(try WorkflowFailure(from: &inner))
    }
}
