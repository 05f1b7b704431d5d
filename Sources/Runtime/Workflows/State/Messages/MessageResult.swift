import FlotillaIO

/// What an operation on messages found or made.
struct MessageResult: Hashable, Sendable {
    /// The message that was sent, or completes an awakeable.
    var message: StepKey?
    /// What an ask got; nil where it still waits.
    var receipt: MessageReceipt?

    func write(to writer: inout ProtobufWriter) {
        if let message {
            writer.string(1, message.name.text)
            writer.varint(2, message.occurrence)
        }
        switch receipt {
        case nil: break
        case .timedOut?: writer.bool(3, true)
        case .message(let number, let content, let sender)?:
            writer.varintAlways(4, number)
            content.write(to: &writer)
            writer.string(7, sender)
        }
    }

    init(message: StepKey? = nil, receipt: MessageReceipt? = nil) {
        self.message = message
        self.receipt = receipt
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        var (name, occurrence, sender) = (String?.none, UInt64(0), "")
        var number: UInt64?
        var content = MessageContent.value([])
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: if try reader.bool() { receipt = .timedOut }
            case 4: number = try reader.varint()
            case 5, 6: content = try MessageContent(field, from: &reader)
            case 7: sender = try reader.string()
            default: try reader.skip()
            }
        }
        message = name.map { StepKey($0, occurrence) }
        if let number { receipt = .message(number, content, sender: sender) }
    }
}
