import FlotillaIO
import FlotillaRaft

// Transfers in a snapshot: `Transfers` in workflow.proto, in a fixed order.

extension Transfers {
    func write(to writer: inout ProtobufWriter) {
        if let sealEpoch { writer.varintAlways(1, sealEpoch) }
        for (id, transfer) in outgoing.sorted(by: { $0.key < $1.key }) {
            writer.message(2) { writer in
                writer.varint(1, id.target.rawValue)
                writer.varint(2, id.number)
                writer.message(3) { transfer.run.write(transfer.key, to: &$0) }
            }
        }
        for (target, count) in outgoingCounts.sorted(by: { $0.key < $1.key }) {
            writer.message(3) { writer in
                writer.varint(1, target.rawValue)
                writer.varint(2, count)
            }
        }
        for (source, inbox) in inboxes.sorted(by: { $0.key < $1.key }) {
            writer.message(4) { writer in
                writer.varint(1, source.rawValue)
                writer.varint(2, inbox.next)
                for (number, refusal) in inbox.turnedDown.sorted(by: { $0.key < $1.key }) {
                    writer.message(3) { $0.packed(1, [number, UInt64(refusal.rawValue)]) }
                }
                writer.bytes(4, inbox.staged)
                writer.varint(5, UInt64(inbox.checksum))
            }
        }
        for (key, address) in addresses.sorted() { writer.message(5) { address.write(key, to: &$0) } }
        for (runID, key) in releases.sorted() {
            writer.message(6) { writer in
                writer.string(1, key.namespace.text)
                writer.string(2, key.workflowID.text)
                writer.bytes(3, runID.bytes)
            }
        }
        for (runID, _) in departed.runs.elements { writer.bytes(7, runID.bytes) }
        for (slots, slot) in self.slots.stretches {
            writer.message(8) { writer in
                writer.write(slots: slots, 1)
                writer.varint(2, slot.epoch)
                switch slot.phase {
                case .open: writer.varint(3, 1)
                case .closed(let home):
                    writer.varint(3, 2)
                    writer.varint(4, home.rawValue)
                case .released: writer.varint(3, 3)
                }
            }
        }
        writer.varint(9, outgoingBase)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        while let field = try reader.next() {
            switch field {
            case 1:
                sealEpoch = try reader.varint()
                continue
            case 7:
                guard let run = RunID(bytes: try reader.bytes()) else {
                    throw WireError(.invalidValue, "a run that has left has no id of 16 bytes")
                }
                departed.insert(run)
                continue
            case 9:
                outgoingBase = try reader.varint()
                continue
            case 2, 3, 4, 5, 6, 8: break
            default: throw reader.unknownField(in: "the transfers")
            }
            var inner = try reader.message()
            switch field {
            case 2: try readOutgoing(&inner)
            case 3: try readCount(&inner)
            case 4: try readInbox(&inner)
            case 5:
                let (key, address) = try Address.read(from: &inner)
                addresses.insert(address, for: key)
            case 6: try readRelease(&inner)
            default: try readSlots(&inner)
            }
        }
    }

    private mutating func readOutgoing(_ reader: inout ProtobufReader) throws(WireError) {
        var id = ID(target: GroupID(0), number: 0)
        var found: (key: RunKey, run: Run)?
        while let field = try reader.next() {
            switch field {
            case 1: id.target = GroupID(try reader.varint())
            case 2: id.number = try reader.varint()
            case 3:
                var inner = try reader.message()
                found = try Run.read(from: &inner)
            default: throw reader.unknownField(in: "a transfer")
            }
        }
        guard let found, frozen[found.key] == nil, outgoing[id] == nil else {
            throw WireError(.invalidValue, "transfer \(id.number) to \(id.target) has no run, or stands there twice")
        }
        freeze(found.run, found.key, as: id)
    }

    private mutating func readCount(_ reader: inout ProtobufReader) throws(WireError) {
        var (target, count) = (GroupID(0), UInt64(0))
        while let field = try reader.next() {
            switch field {
            case 1: target = GroupID(try reader.varint())
            case 2: count = try reader.varint()
            default: throw reader.unknownField(in: "a count of transfers")
            }
        }
        outgoingCounts[target] = count
    }

    private mutating func readInbox(_ reader: inout ProtobufReader) throws(WireError) {
        var source = GroupID(0)
        var inbox = Inbox()
        while let field = try reader.next() {
            switch field {
            case 1: source = GroupID(try reader.varint())
            case 2: inbox.next = try reader.varint()
            case 3:
                var pair: [UInt64] = []
                var inner = try reader.message()
                while let field = try inner.next() {
                    guard field == 1 else { throw inner.unknownField(in: "an inbox") }
                    try inner.packed(into: &pair)
                }
                guard pair.count == 2, let refusal = WorkflowRefusal(rawValue: UInt32(clamping: pair[1])) else {
                    throw WireError(.invalidValue, "a transfer was turned down for no known reason")
                }
                inbox.turnedDown[pair[0]] = refusal
            case 4: inbox.staged = try reader.bytes()
            case 5: inbox.checksum = try reader.uint32()
            default: throw reader.unknownField(in: "an inbox")
            }
        }
        inboxes[source] = inbox
    }

    private mutating func readRelease(_ reader: inout ProtobufReader) throws(WireError) {
        var (namespace, workflowID) = ("", "")
        var runID: RunID?
        while let field = try reader.next() {
            switch field {
            case 1: namespace = try reader.string()
            case 2: workflowID = try reader.string()
            case 3: runID = RunID(bytes: try reader.bytes())
            default: throw reader.unknownField(in: "a removed run")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "a removed run without its id") }
        releases.insert(RunKey(namespace, workflowID), for: runID)
    }

    private mutating func readSlots(_ reader: inout ProtobufReader) throws(WireError) {
        var (slots, epoch, phase, home) = ([Int](), UInt64(0), UInt64(0), GroupID(0))
        while let field = try reader.next() {
            switch field {
            case 1: slots += try reader.slots()
            case 2: epoch = try reader.varint()
            case 3: phase = try reader.varint()
            case 4: home = GroupID(try reader.varint())
            default: throw reader.unknownField(in: "slots")
            }
        }
        let slot: HomeSlots.Slot
        switch phase {
        case 1: slot = HomeSlots.Slot(epoch: epoch, phase: .open)
        case 2: slot = HomeSlots.Slot(epoch: epoch, phase: .closed(for: home))
        case 3: slot = HomeSlots.Slot(epoch: epoch, phase: .released)
        default: throw WireError(.invalidValue, "slots are in phase \(phase)")
        }
        for number in slots { self.slots.set(number, slot) }
    }
}

extension Transfers.Address {
    func write(_ key: RunKey, to writer: inout ProtobufWriter) {
        writer.string(1, key.namespace.text)
        writer.string(2, key.workflowID.text)
        writer.bytes(3, runID.bytes)
        writer.varint(4, group.rawValue)
        writer.varint(5, epoch)
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (RunKey, Self) {
        var (namespace, workflowID, group, epoch) = ("", "", GroupID(0), UInt64(0))
        var runID: RunID?
        while let field = try reader.next() {
            switch field {
            case 1: namespace = try reader.string()
            case 2: workflowID = try reader.string()
            case 3: runID = RunID(bytes: try reader.bytes())
            case 4: group = GroupID(try reader.varint())
            case 5: epoch = try reader.varint()
            default: throw reader.unknownField(in: "an address")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "the address of a run without its id") }
        return (RunKey(namespace, workflowID), Self(runID: runID, group: group, epoch: epoch))
    }
}
