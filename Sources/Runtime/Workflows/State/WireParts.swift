import FlotillaIO

// The messages that operations and snapshots share; see workflow.proto.

extension ProtobufWriter {
    mutating func write(_ run: RunAddress) {
        string(1, run.workflowID)
        bytes(2, run.runID.bytes)
    }

    mutating func write(_ run: RunAddress, _ key: StepKey) {
        write(run)
        string(3, key.name.text)
        varint(4, key.occurrence)
    }
}

extension RunResult {
    func write(to writer: inout ProtobufWriter) {
        switch self {
        case .success(let output): writer.bytesAlways(3, output)
        case .failure(let failure): writer.message(4) { failure.write(to: &$0) }
        case .cancelled: writer.bool(5, true)
        }
    }
}

extension WorkflowType {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, name)
        writer.varint(2, UInt64(version))
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var (name, version) = ("", UInt32(0))
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: version = try reader.uint32()
            default: throw reader.unknownField(in: "a workflow type")
            }
        }
        self.init(name, version: version)
    }
}

extension WorkflowFailure {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, type)
        writer.string(2, message)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(type: "", message: "")
        while let field = try reader.next() {
            switch field {
            case 1: type = try reader.string()
            case 2: message = try reader.string()
            default: throw reader.unknownField(in: "a failure")
            }
        }
    }
}
