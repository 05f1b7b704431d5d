import FlotillaIO

// A start as bytes; see workflow.proto.

extension WorkflowOperation.StartRun {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, workflowID)
        writer.bytes(2, runID.bytes)
        writer.message(3) { type.write(to: &$0) }
        writer.bytes(4, input)
        writer.string(5, contentType)
        switch placement {
        case .alone: break
        case .atHome: writer.varint(40, 1)
        case .reserved(let epoch):
            writer.varint(40, 2)
            writer.varint(41, epoch)
        case .generated: writer.varint(40, 3)
        }
        writer.varint(42, admitBelow)
        attributes.write(to: &writer, 70)
        if let parent { writer.message(71) { parent.write(to: &$0) } }
        writer.varint(80, runLimit)
        writer.varint(81, typeLimit)
        if let trace { writer.message(82) { trace.write(to: &$0) } }
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var workflowID = ""
        var runID: RunID?
        var type: WorkflowType?
        var input: [UInt8] = []
        var contentType = ""
        var (placement, epoch, admitBelow) = (UInt64(0), UInt64(0), UInt64(0))
        var attributes = RunAttributes()
        var parent: RunTies.Parent?
        var (runLimit, typeLimit) = (UInt64(0), UInt64(0))
        var trace: TraceContext?
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 40: placement = try reader.varint()
            case 41: epoch = try reader.varint()
            case 42: admitBelow = try reader.varint()
            case 70:
                var inner = try reader.message()
                try attributes.read(from: &inner)
            case 71:
                var inner = try reader.message()
                parent = try RunTies.Parent(from: &inner)
            case 80: runLimit = try reader.varint()
            case 81: typeLimit = try reader.varint()
            case 82:
                var inner = try reader.message()
                trace = try TraceContext(from: &inner)
            case 3:
                var inner = try reader.message()
                type = try WorkflowType(from: &inner)
            case 4: input = try reader.bytes()
            case 5: contentType = Run.shared(contentType: try reader.string())
            default: throw reader.unknownField(in: "startRun")
            }
        }
        guard let runID, let type else {
            throw WireError(.invalidValue, "a start without run id or type")
        }
        self.init(
            workflowID: workflowID, runID: runID, type: type, input: input, contentType: contentType,
            placement: try Placement(placement, epoch: epoch), admitBelow: admitBelow, runLimit: runLimit,
            typeLimit: typeLimit, attributes: attributes, parent: parent, trace: trace)
    }
}

extension WorkflowOperation.StartRun.Placement {
    fileprivate init(_ number: UInt64, epoch: UInt64) throws(WireError) {
        switch number {
        case 0: self = .alone
        case 1: self = .atHome
        case 2: self = .reserved(epoch: epoch)
        case 3: self = .generated
        default: throw WireError(.unknownField, "placement \(number) of a start is unknown")
        }
    }
}
