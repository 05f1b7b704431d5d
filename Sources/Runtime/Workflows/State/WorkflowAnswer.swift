import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What came of a command: one result for each operation, or one refusal for all of them.
enum WorkflowAnswer: Hashable, Sendable {
    case applied([OperationResult])
    /// `refusal` is nil if this binary does not know the code.
    case refused(WorkflowRefusal?, String)

    var encoded: Answer {
        var writer = ProtobufWriter()
        switch self {
        case .applied(let results):
            for result in results { writer.message(1) { result.write(to: &$0) } }
            return Answer(body: writer.bytes)
        case .refused(let refusal, let message):
            writer.string(2, message)
            return Answer(code: refusal?.rawValue ?? .max, body: writer.bytes)
        }
    }

    init(_ answer: Answer) throws(WireError) {
        var reader = ProtobufReader(answer.body)
        var results: [OperationResult] = []
        var message = ""
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                results.append(try OperationResult(from: &inner))
            case 2: message = try reader.string()
            default: try reader.skip()
            }
        }
        self =
            answer.code == 0
            ? .applied(results) : .refused(WorkflowRefusal(rawValue: answer.code), message)
    }
}

/// What an operation found or made.
struct OperationResult: Hashable, Sendable {
    /// It had been done before; nothing changed now.
    var wasDone = false
    /// The value on record, if the step had been recorded before.
    var recordedValue: [UInt8]?
    /// A timer's deadline, in nanoseconds since 1970.
    var deadline: Int64 = 0
    /// The run of the workflow id.
    var runID: RunID?
    /// An executor's registration.
    var registration: UInt64 = 0
    /// How many runs were removed.
    var prunedCount: UInt64 = 0
    /// There are more to remove, for another command.
    var hasMore = false
    /// The number of the transfer that a run is exported by.
    var sequence: UInt64 = 0
    /// Why the run of a transfer was not taken in, which stays so however often that is asked for.
    var turnedDown: WorkflowRefusal?
    /// Where the run of a workflow id is or is to begin, as its home knows it.
    var group: GroupID?
    /// The epoch in which that group is the id's home.
    var slotEpoch: UInt64 = 0
    /// Of an operation on messages.
    var messages: MessageResult?

    func write(to writer: inout ProtobufWriter) {
        writer.bool(1, wasDone)
        if let recordedValue { writer.bytesAlways(2, recordedValue) }
        writer.signed(3, deadline)
        if let runID { writer.bytes(4, runID.bytes) }
        writer.varint(5, registration)
        writer.varint(6, prunedCount)
        writer.bool(7, hasMore)
        writer.varint(32, sequence)
        writer.varint(33, UInt64(turnedDown?.rawValue ?? 0))
        if let group { writer.varintAlways(34, group.rawValue) }
        writer.varint(35, slotEpoch)
        if let messages { writer.message(64) { messages.write(to: &$0) } }
    }

    init(
        wasDone: Bool = false, recordedValue: [UInt8]? = nil, deadline: Int64 = 0,
        runID: RunID? = nil,
        registration: UInt64 = 0, prunedCount: UInt64 = 0, hasMore: Bool = false, sequence: UInt64 = 0,
        turnedDown: WorkflowRefusal? = nil, group: GroupID? = nil, slotEpoch: UInt64 = 0
    ) {
        self.wasDone = wasDone
        self.recordedValue = recordedValue
        self.deadline = deadline
        self.runID = runID
        self.registration = registration
        self.prunedCount = prunedCount
        self.hasMore = hasMore
        self.sequence = sequence
        self.turnedDown = turnedDown
        self.group = group
        self.slotEpoch = slotEpoch
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        while let field = try reader.next() {
            switch field {
            case 1: wasDone = try reader.bool()
            case 2: recordedValue = try reader.bytes()
            case 3: deadline = try reader.signed()
            case 4: runID = RunID(bytes: try reader.bytes())
            case 5: registration = try reader.varint()
            case 6: prunedCount = try reader.varint()
            case 7: hasMore = try reader.bool()
            case 32: sequence = try reader.varint()
            case 33: turnedDown = WorkflowRefusal(rawValue: try reader.uint32())
            case 34: group = GroupID(try reader.varint())
            case 35: slotEpoch = try reader.varint()
            case 64:
                var inner = try reader.message()
                messages = try MessageResult(from: &inner)
            default: try reader.skip()
            }
        }
    }
}
