import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a workflow group does about a run among others: how it is found; see workflow.proto. Their numbers begin at 71.
enum CompositionOperation: Hashable, Sendable {
    /// Under the run's epoch. Sets attributes, or takes them away, and records that like a step's result.
    case setAttributes(RunAddress, StepKey, [ByteText: ByteText?])
    /// Under the run's epoch. Ends an execution, and begins the next one.
    case continueRun(Continuation)

    struct Continuation: Hashable, Sendable {
        var run: RunAddress
        /// Of the next execution.
        var type: WorkflowType
        /// Canonical, as an input.
        var input: [UInt8]
        /// A new id, for what is kept of the execution that ends.
        var formerID: RunID
        /// Children that the next execution goes on with, by what their starts are recorded as.
        var kept: [StepKey] = []
    }

    /// As `WorkflowOperation.workflowID`.
    var workflowID: String {
        switch self {
        case .setAttributes(let run, _, _): run.workflowID
        case .continueRun(let continuation): continuation.run.workflowID
        }
    }
}

// MARK: Encoding

extension CompositionOperation {
    private enum Number: UInt32 {
        case setAttributes = 71
        case continueRun
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .setAttributes(let run, let step, let changes):
            number = .setAttributes
            writer.write(run, step)
            for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
                writer.message(5) { writer in
                    writer.string(1, name.text)
                    if let value { writer.stringAlways(2, value.text) }
                }
            }
        case .continueRun(let continuation):
            number = .continueRun
            writer.write(continuation.run)
            writer.message(3) { continuation.type.write(to: &$0) }
            writer.bytes(4, continuation.input)
            writer.bytes(5, continuation.formerID.bytes)
            for child in continuation.kept {
                writer.message(6) { writer in
                    writer.string(1, child.name.text)
                    writer.varint(2, child.occurrence)
                }
            }
        }
        return Operation(type: number.rawValue, version: Self.version, body: writer.bytes)
    }

    /// - Returns: nil if it is another operation of a workflow group.
    /// - Throws: as `WorkflowOperation.init`.
    init?(_ operation: Operation) throws(ApplyError) {
        guard let number = Number(rawValue: operation.type) else { return nil }
        guard operation.version == Self.version else {
            throw ApplyError(
                .unknownVersion, "version \(operation.version) of '\(number)' is unknown; upgrade this node")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            switch number {
            case .setAttributes: self = try Self.readAttributes(from: &reader)
            case .continueRun: self = .continueRun(try Continuation(from: &reader))
            }
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    private static func readAttributes(
        from reader: inout ProtobufReader
    ) throws(WireError) -> CompositionOperation {
        var (workflowID, name, occurrence) = ("", "", UInt64(0))
        var runID: RunID?
        var changes: [ByteText: ByteText?] = [:]
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3: name = try reader.string()
            case 4: occurrence = try reader.varint()
            case 5:
                var inner = try reader.message()
                var (attribute, value) = ("", ByteText?.none)
                while let field = try inner.next() {
                    switch field {
                    case 1: attribute = try inner.string()
                    case 2: value = ByteText(try inner.string())
                    default: throw inner.unknownField(in: "an attribute")
                    }
                }
                changes.updateValue(value, forKey: ByteText(attribute))
            default: throw reader.unknownField(in: "setAttributes")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
        return .setAttributes(
            RunAddress(workflowID: workflowID, runID: runID), StepKey(name, occurrence), changes)
    }
}

extension CompositionOperation.Continuation {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var workflowID = ""
        var (runID, formerID): (RunID?, RunID?) = (nil, nil)
        var type: WorkflowType?
        var input: [UInt8] = []
        var kept: [StepKey] = []
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3:
                var inner = try reader.message()
                type = try WorkflowType(from: &inner)
            case 4: input = try reader.bytes()
            case 5: formerID = RunID(bytes: try reader.bytes())
            case 6:
                var inner = try reader.message()
                kept.append(try Self.readChild(from: &inner))
            default: throw reader.unknownField(in: "continueRun")
            }
        }
        guard let runID, let formerID, let type else {
            throw WireError(.invalidValue, "a continuation without its type, or with an id that is not 16 bytes")
        }
        self.init(
            run: RunAddress(workflowID: workflowID, runID: runID), type: type, input: input, formerID: formerID,
            kept: kept)
    }

    private static func readChild(from reader: inout ProtobufReader) throws(WireError) -> StepKey {
        var (name, occurrence) = ("", UInt64(0))
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            default: throw reader.unknownField(in: "a child of continueRun")
            }
        }
        return StepKey(name, occurrence)
    }
}
