import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a workflow group does about runs that move, homes of workflow ids and its own end; see workflow.proto. Their
/// numbers begin at 32.
enum TransferOperation: Hashable, Sendable {
    /// The group takes nothing any more. Refused unless it is empty.
    case seal(epoch: UInt64)
    /// Freezes a run that is to move. The answer has the transfer's number.
    case exportRun(RunAddress, to: GroupID)
    case importRun(Import)
    case completeExport(Completion)
    case setAddress(workflowID: String, Transfers.Address)
    case clearAddress(workflowID: String, RunID)

    /// A run as its source had it.
    struct Import: Sendable {
        /// A value that a checkpoint's key had.
        struct Record: Hashable, Sendable {
            var name: ByteText
            var record: CheckpointRecord
        }

        var source: GroupID
        /// Counts the source's transfers to this group, from 1; they come in their order.
        var number: UInt64
        /// The source has heard what became of all transfers below.
        var acknowledgedBelow: UInt64
        let key: RunKey
        let run: Run
        /// Of its checkpoints, as much as fits a command; the last value of each key is in the run.
        var history: [Record]
        /// The run as it stands in the command: two are equal if this is.
        private let runBytes: [UInt8]

        init(
            source: GroupID, number: UInt64, acknowledgedBelow: UInt64, key: RunKey, run: Run, history: [Record] = []
        ) {
            (self.source, self.number, self.acknowledgedBelow) = (source, number, acknowledgedBelow)
            (self.key, self.run, self.history) = (key, run, history)
            var writer = ProtobufWriter()
            run.write(key, to: &writer)
            runBytes = writer.bytes
        }
    }

    /// What became of a transfer.
    struct Completion: Hashable, Sendable {
        var target: GroupID
        var number: UInt64
        var isAccepted: Bool
        /// This group is the home of the workflow id, and says from now on where the run is.
        var leavesAddress: Bool
    }

    /// As `WorkflowOperation.workflowID`.
    var workflowID: String? {
        switch self {
        case .seal, .completeExport: nil
        case .exportRun(let address, _): address.workflowID
        case .importRun(let transfer): transfer.key.workflowID.text
        case .setAddress(let workflowID, _), .clearAddress(let workflowID, _): workflowID
        }
    }
}

extension TransferOperation.Import: Hashable {
    static func == (a: Self, b: Self) -> Bool {
        a.source == b.source && a.number == b.number && a.acknowledgedBelow == b.acknowledgedBelow
            && a.runBytes == b.runBytes && a.history == b.history
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(source)
        hasher.combine(number)
        hasher.combine(runBytes)
    }
}

// MARK: Encoding

extension TransferOperation {
    private enum Number: UInt32 {
        case seal = 32
        case exportRun, importRun, completeExport, setAddress, clearAddress
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .seal(let epoch):
            number = .seal
            writer.varint(1, epoch)
        case .exportRun(let run, let target):
            number = .exportRun
            writer.write(run)
            writer.varint(3, target.rawValue)
        case .importRun(let transfer):
            number = .importRun
            transfer.write(to: &writer)
        case .completeExport(let completion):
            number = .completeExport
            writer.varint(1, completion.target.rawValue)
            writer.varint(2, completion.number)
            writer.bool(3, completion.isAccepted)
            writer.bool(4, completion.leavesAddress)
        case .setAddress(let workflowID, let address):
            number = .setAddress
            writer.write(RunAddress(workflowID: workflowID, runID: address.runID))
            writer.varint(3, address.group.rawValue)
            writer.varint(4, address.epoch)
        case .clearAddress(let workflowID, let runID):
            number = .clearAddress
            writer.write(RunAddress(workflowID: workflowID, runID: runID))
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
            case .importRun: self = .importRun(try Import(from: &reader))
            case .completeExport: self = .completeExport(try Completion(from: &reader))
            case .seal, .exportRun, .setAddress, .clearAddress: self = try Self.read(number, from: &reader)
            }
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    private static func read(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> TransferOperation {
        var (workflowID, epoch, group) = ("", UInt64(0), GroupID(0))
        var runID: RunID?
        while let field = try reader.next() {
            switch (field, number) {
            case (1, .seal), (4, .setAddress): epoch = try reader.varint()
            case (1, .exportRun), (1, .setAddress), (1, .clearAddress): workflowID = try reader.string()
            case (2, .exportRun), (2, .setAddress), (2, .clearAddress): runID = RunID(bytes: try reader.bytes())
            case (3, .exportRun), (3, .setAddress): group = GroupID(try reader.varint())
            default: throw reader.unknownField(in: "\(number)")
            }
        }
        if number == .seal { return .seal(epoch: epoch) }
        guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
        switch number {
        case .exportRun: return .exportRun(RunAddress(workflowID: workflowID, runID: runID), to: group)
        case .setAddress:
            return .setAddress(workflowID: workflowID, Transfers.Address(runID: runID, group: group, epoch: epoch))
        case .clearAddress: return .clearAddress(workflowID: workflowID, runID)
        case .seal, .importRun, .completeExport: preconditionFailure("'\(number)' names no run by its id")
        }
    }
}

extension TransferOperation.Import {
    fileprivate func write(to writer: inout ProtobufWriter) {
        writer.varint(1, source.rawValue)
        writer.varint(2, number)
        writer.varint(3, acknowledgedBelow)
        writer.bytesAlways(4, runBytes)
        for record in history {
            writer.message(5) { writer in
                writer.string(1, record.name.text)
                writer.varint(2, record.record.sequence)
                writer.bytes(3, record.record.value)
                writer.signed(5, record.record.recordedAt)
            }
        }
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var (source, number, acknowledgedBelow) = (GroupID(0), UInt64(0), UInt64(0))
        var run: (key: RunKey, run: Run)?
        var history: [Record] = []
        while let field = try reader.next() {
            switch field {
            case 1: source = GroupID(try reader.varint())
            case 2: number = try reader.varint()
            case 3: acknowledgedBelow = try reader.varint()
            case 4:
                var inner = try reader.message()
                run = try Run.read(from: &inner)
            case 5:
                var inner = try reader.message()
                history.append(try Record(from: &inner))
            default: throw reader.unknownField(in: "a transfer")
            }
        }
        guard let run else { throw WireError(.invalidValue, "a transfer without a run") }
        self.init(
            source: source, number: number, acknowledgedBelow: acknowledgedBelow, key: run.key, run: run.run,
            history: history)
    }
}

extension TransferOperation.Import.Record {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var name = ""
        var record = CheckpointRecord(sequence: 0, value: [], recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: record.sequence = try reader.varint()
            case 3: record.value = try reader.bytes()
            case 5: record.recordedAt = try reader.signed()
            default: throw reader.unknownField(in: "a value of a checkpoint")
            }
        }
        self.init(name: ByteText(name), record: record)
    }
}

extension TransferOperation.Completion {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(target: GroupID(0), number: 0, isAccepted: false, leavesAddress: false)
        while let field = try reader.next() {
            switch field {
            case 1: target = GroupID(try reader.varint())
            case 2: number = try reader.varint()
            case 3: isAccepted = try reader.bool()
            case 4: leavesAddress = try reader.bool()
            default: throw reader.unknownField(in: "the end of a transfer")
            }
        }
    }
}
