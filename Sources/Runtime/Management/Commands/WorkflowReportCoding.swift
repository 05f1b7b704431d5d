import FlotillaIO
import FlotillaRaft

// Reports and runs that management was told of; see Protos/management.proto.

extension LocatedRun {
    /// The run under its key, as reports and the state hold it.
    func write(_ key: RunKey, to writer: inout ProtobufWriter) {
        writer.string(1, key.namespace.text)
        writer.string(2, key.workflowID.text)
        writer.bytes(3, runID.bytes)
        writer.message(4) { type.write(to: &$0) }
        writer.signed(5, startedAt)
        writer.varint(6, epoch)
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (RunKey, LocatedRun) {
        var inner = try reader.message()
        var (namespace, workflowID) = ("", "")
        var (runID, type): (RunID?, WorkflowType?) = (nil, nil)
        var (startedAt, epoch) = (Int64(0), UInt64(0))
        while let field = try inner.next() {
            switch field {
            case 1: namespace = try inner.string()
            case 2: workflowID = try inner.string()
            case 3: runID = RunID(bytes: try inner.bytes())
            case 4:
                var text = try inner.message()
                type = try WorkflowType(from: &text)
            case 5: startedAt = try inner.signed()
            case 6: epoch = try inner.varint()
            default: throw inner.unknownField(in: "a run's place")
            }
        }
        guard let runID, let type else { throw WireError(.invalidValue, "a place of a run without id or type") }
        let run = LocatedRun(runID: runID, type: type, startedAt: startedAt, epoch: epoch)
        return (RunKey(namespace, workflowID), run)
    }
}

extension WorkflowReport {
    func write(to writer: inout ProtobufWriter) {
        writer.write(1, cluster)
        writer.varint(2, after.rawValue)
        writer.varint(3, through.rawValue)
        writer.bool(4, isWhole)
        for started in started { writer.message(5) { started.run.write(started.key, to: &$0) } }
        for ended in ended {
            writer.message(6) { writer in
                writer.string(1, ended.key.namespace.text)
                writer.string(2, ended.key.workflowID.text)
                writer.bytes(3, ended.runID.bytes)
                if let movedTo = ended.movedTo { writer.varintAlways(4, movedTo.rawValue) }
            }
        }
        writer.varint(7, endedWithin)
        writer.varint(8, sealEpoch)
        writer.varint(9, incarnation)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(cluster: ClusterID(high: 0, low: 0), incarnation: 0, after: .zero, through: .zero)
        while let field = try reader.next() {
            switch field {
            case 1: cluster = try ClusterID(from: &reader)
            case 2: after = LogIndex(try reader.varint())
            case 3: through = LogIndex(try reader.varint())
            case 4: isWhole = try reader.bool()
            case 5:
                let (key, run) = try LocatedRun.read(from: &reader)
                started.append(Started(key: key, run: run))
            case 6: ended.append(try Ended(from: &reader))
            case 7: endedWithin = try reader.varint()
            case 8: sealEpoch = try reader.varint()
            case 9: incarnation = try reader.varint()
            default: throw reader.unknownField(in: "a report of workflows")
            }
        }
    }
}

extension WorkflowReport.Ended {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var inner = try reader.message()
        var (namespace, workflowID) = ("", "")
        var runID: RunID?
        var movedTo: GroupID?
        while let field = try inner.next() {
            switch field {
            case 1: namespace = try inner.string()
            case 2: workflowID = try inner.string()
            case 3: runID = RunID(bytes: try inner.bytes())
            case 4: movedTo = GroupID(try inner.varint())
            default: throw inner.unknownField(in: "the end of a run")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "the end of a run without its id") }
        self.init(key: RunKey(namespace, workflowID), runID: runID, movedTo: movedTo)
    }
}
