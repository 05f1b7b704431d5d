import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Operations of transfers as bytes; see workflow.proto.

extension TransferOperation {
    private enum Number: UInt32 {
        case seal = 32
        case exportRun, importRun, completeExport, setAddress, clearAddress, reserveRun, openSlots, closeSlots,
            handOver,
            releaseSlots, confirmRelease, listExport
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        return Operation(type: write(to: &writer).rawValue, version: Self.version, body: writer.bytes)
    }

    private func write(to writer: inout ProtobufWriter) -> Number {
        switch self {
        case .seal(let epoch):
            writer.varint(4, epoch)
            return .seal
        case .exportRun(let run, let target):
            writer.write(run)
            writer.varint(3, target.rawValue)
            return .exportRun
        case .importRun(let part):
            part.write(to: &writer)
            return .importRun
        case .completeExport(let completion):
            writer.varint(1, completion.target.rawValue)
            writer.varint(2, completion.number)
            writer.bool(3, completion.isAccepted)
            writer.bool(4, completion.isKnownAtHome)
            return .completeExport
        case .listExport(let id):
            writer.varint(1, id.target.rawValue)
            writer.varint(2, id.number)
            return .listExport
        case .setAddress(let workflowID, let address, let isFirst):
            writer.write(RunAddress(workflowID: workflowID, runID: address.runID))
            writer.varint(3, address.group.rawValue)
            writer.varint(4, address.epoch)
            writer.bool(5, isFirst)
            return .setAddress
        case .clearAddress(let workflowID, let runID):
            writer.write(RunAddress(workflowID: workflowID, runID: runID))
            return .clearAddress
        case .confirmRelease(let workflowID, let runID):
            writer.write(RunAddress(workflowID: workflowID, runID: runID))
            return .confirmRelease
        case .reserveRun(let reservation):
            reservation.write(to: &writer)
            return .reserveRun
        case .openSlots(let slots, let epoch):
            writer.write(slots, epoch)
            return .openSlots
        case .closeSlots(let slots, let epoch, let home, let instead):
            writer.varint(3, home.rawValue)
            writer.write(slots, epoch)
            if let instead { writer.varintAlways(6, instead.rawValue) }
            return .closeSlots
        case .releaseSlots(let slots, let epoch):
            writer.write(slots, epoch)
            return .releaseSlots
        case .handOver(let epoch, let entries):
            writer.varint(4, epoch)
            for entry in entries { writer.message(7) { entry.address.write(entry.key, to: &$0) } }
            return .handOver
        }
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
            case .importRun: self = .importRun(try ImportPart(from: &reader))
            case .completeExport: self = .completeExport(try Completion(from: &reader))
            case .reserveRun: self = .reserveRun(try Reservation(from: &reader))
            case .seal, .exportRun, .listExport, .setAddress, .clearAddress, .openSlots, .closeSlots, .handOver,
                .releaseSlots, .confirmRelease:
                self = try Fields(of: number, from: &reader).operation(number)
            }
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    /// The fields that most of them share.
    private struct Fields {
        var workflowID = ""
        var runID: RunID?
        var group = GroupID(0)
        var epoch: UInt64 = 0
        /// Of `listExport`, whose first fields are numbers.
        var transfer = Transfers.ID(target: GroupID(0), number: 0)
        var isFirst = false
        var slots: [Int] = []
        var instead: GroupID?
        var entries: [HandoverEntry] = []

        init(of number: Number, from reader: inout ProtobufReader) throws(WireError) {
            while let field = try reader.next() {
                switch (field, number) {
                case (1, .listExport): transfer.target = GroupID(try reader.varint())
                case (2, .listExport): transfer.number = try reader.varint()
                case (1, .exportRun), (1, .setAddress), (1, .clearAddress), (1, .confirmRelease):
                    workflowID = try reader.string()
                case (2, .exportRun), (2, .setAddress), (2, .clearAddress), (2, .confirmRelease):
                    runID = RunID(bytes: try reader.bytes())
                case (3, .exportRun), (3, .setAddress), (3, .closeSlots): group = GroupID(try reader.varint())
                case (4, .seal), (4, .setAddress), (4, .openSlots), (4, .closeSlots), (4, .releaseSlots),
                    (4, .handOver):
                    epoch = try reader.varint()
                case (5, .setAddress): isFirst = try reader.bool()
                case (5, .openSlots), (5, .closeSlots), (5, .releaseSlots):
                    slots += try reader.slots()
                case (6, .closeSlots): instead = GroupID(try reader.varint())
                case (7, .handOver):
                    var inner = try reader.message()
                    let (key, address) = try Transfers.Address.read(from: &inner)
                    entries.append(HandoverEntry(key: key, address: address))
                default: throw reader.unknownField(in: "\(number)")
                }
            }
        }

        func operation(_ number: Number) throws(WireError) -> TransferOperation {
            switch number {
            case .seal: return .seal(epoch: epoch)
            case .listExport: return .listExport(transfer)
            case .openSlots: return .openSlots(slots, epoch: epoch)
            case .closeSlots: return .closeSlots(slots, epoch: epoch, home: group, instead: instead)
            case .releaseSlots: return .releaseSlots(slots, epoch: epoch)
            case .handOver: return .handOver(epoch: epoch, entries)
            case .exportRun, .setAddress, .clearAddress, .confirmRelease, .importRun, .completeExport, .reserveRun:
                break
            }
            guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
            switch number {
            case .exportRun: return .exportRun(RunAddress(workflowID: workflowID, runID: runID), to: group)
            case .clearAddress: return .clearAddress(workflowID: workflowID, runID)
            case .confirmRelease: return .confirmRelease(workflowID: workflowID, runID)
            case .setAddress:
                let address = Transfers.Address(runID: runID, group: group, epoch: epoch)
                return .setAddress(workflowID: workflowID, address, isFirst: isFirst)
            case .seal, .listExport, .openSlots, .closeSlots, .releaseSlots, .handOver, .importRun, .completeExport,
                .reserveRun:
                preconditionFailure("'\(number)' names no run by its id")
            }
        }
    }
}

// MARK: Slots

extension ProtobufWriter {
    fileprivate mutating func write(_ slots: [Int], _ epoch: UInt64) {
        varint(4, epoch)
        write(slots: slots, 5)
    }

    /// Slots as the first one and the number of each stretch without a gap.
    mutating func write(slots: [Int], _ field: Int) {
        var numbers: [UInt64] = []
        var end = -1
        for slot in slots.sorted() {
            if slot == end {
                numbers[numbers.count - 1] += 1
            } else if slot > end {
                numbers += [UInt64(slot), 1]
            } else {
                continue
            }
            end = slot + 1
        }
        packed(field, numbers)
    }
}

extension ProtobufReader {
    mutating func slots() throws(WireError) -> [Int] {
        var numbers: [UInt64] = []
        try packed(into: &numbers)
        var slots: [Int] = []
        guard numbers.count.isMultiple(of: 2) else {
            throw WireError(.invalidValue, "a stretch of slots has no length")
        }
        for position in stride(from: 0, to: numbers.count, by: 2) {
            let (first, count) = (numbers[position], numbers[position + 1])
            guard first < SlotMap.count, count <= SlotMap.count, first + count <= SlotMap.count else {
                throw WireError(.invalidValue, "slots are numbered from 0 to \(SlotMap.count - 1)")
            }
            slots += Int(first)..<Int(first + count)
        }
        return slots
    }
}

// MARK: Parts

extension TransferOperation.ImportPart {
    fileprivate func write(to writer: inout ProtobufWriter) {
        writer.varint(1, source.rawValue)
        writer.varint(2, number)
        writer.varint(3, acknowledgedBelow)
        writer.varint(4, offset)
        writer.varint(5, UInt64(checksum))
        writer.bool(6, isLast)
        writer.bytes(7, bytes)
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(
            source: GroupID(0), number: 0, acknowledgedBelow: 0, offset: 0, checksum: 0, isLast: false, bytes: [])
        while let field = try reader.next() {
            switch field {
            case 1: source = GroupID(try reader.varint())
            case 2: number = try reader.varint()
            case 3: acknowledgedBelow = try reader.varint()
            case 4: offset = try reader.varint()
            case 5: checksum = try reader.uint32()
            case 6: isLast = try reader.bool()
            case 7: bytes = try reader.bytes()
            default: throw reader.unknownField(in: "a part of a transfer")
            }
        }
    }
}

extension TransferOperation.Completion {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(target: GroupID(0), number: 0, isAccepted: false)
        while let field = try reader.next() {
            switch field {
            case 1: target = GroupID(try reader.varint())
            case 2: number = try reader.varint()
            case 3: isAccepted = try reader.bool()
            case 4: isKnownAtHome = try reader.bool()
            default: throw reader.unknownField(in: "the end of a transfer")
            }
        }
    }
}

extension TransferOperation.Reservation {
    fileprivate func write(to writer: inout ProtobufWriter) {
        writer.write(RunAddress(workflowID: workflowID, runID: runID))
        writer.varint(3, group.rawValue)
        if let replacing {
            writer.bytes(4, replacing.runID.bytes)
            writer.varint(5, replacing.group.rawValue)
            writer.bool(6, replacing.isLost)
        }
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var (workflowID, group, replacedGroup, isLost) = ("", GroupID(0), GroupID(0), false)
        var (runID, replaced): (RunID?, RunID?) = (nil, nil)
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3: group = GroupID(try reader.varint())
            case 4: replaced = RunID(bytes: try reader.bytes())
            case 5: replacedGroup = GroupID(try reader.varint())
            case 6: isLost = try reader.bool()
            default: throw reader.unknownField(in: "a reservation")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "a reservation without a run id of 16 bytes") }
        self.init(
            workflowID: workflowID, runID: runID, group: group,
            replacing: replaced.map { Replaced(runID: $0, group: replacedGroup, isLost: isLost) })
    }
}
