import FlotillaActors
import FlotillaIO

// What clients ask, and what they are answered, as it travels: the messages of Protos/client.proto.

struct ClientStart: Hashable, Sendable {
    static let name = "start"
    var type = ""
    /// Nil: that of the run that the id has, or the newest.
    var version: UInt32?
    var id = ""
    /// JSON.
    var input: [UInt8] = []
    var attributes: [String: String] = [:]

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, type)
        writer.varint(2, UInt64(version ?? 0))
        writer.string(3, id)
        writer.bytes(4, input)
        for (name, value) in attributes.sorted(by: { $0.key < $1.key }) {
            writer.message(5) { writer in
                writer.string(1, name)
                writer.string(2, value)
            }
        }
        return writer.bytes
    }
}

extension ClientStart {
    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: type = try reader.string()
            case 2:
                let number = try reader.uint32()
                version = number == 0 ? nil : number
            case 3: id = try reader.string()
            case 4: input = try reader.bytes()
            case 5:
                var inner = try reader.message()
                var (name, value) = ("", "")
                while let field = try inner.next() {
                    switch field {
                    case 1: name = try inner.string()
                    case 2: value = try inner.string()
                    default: try inner.skip()
                    }
                }
                attributes[name] = value
            default: try reader.skip()
            }
        }
    }
}

extension StartedRun {
    var encodedForClients: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, workflowID)
        writer.string(2, runID.description)
        writer.string(3, type.name)
        writer.varint(4, UInt64(type.version))
        writer.bool(5, existed)
        return writer.bytes
    }

    init(decodingForClients bytes: [UInt8]) throws(WireError) {
        var (id, run, name, version, existed) = ("", "", "", UInt32(0), false)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: id = try reader.string()
            case 2: run = try reader.string()
            case 3: name = try reader.string()
            case 4: version = try reader.uint32()
            case 5: existed = try reader.bool()
            default: try reader.skip()
            }
        }
        guard let runID = RunID(run) else { throw WireError(.invalidValue, "'\(run)' is no run id") }
        self.init(
            workflowID: id, runID: runID, type: WorkflowType(name, version: version), existed: existed)
    }
}

struct ClientResult: Hashable, Sendable {
    static let name = "result"
    var id = ""
    var wait: Duration = .zero

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.varint(2, UInt64(max(0, wait / .milliseconds(1))))
        return writer.bytes
    }
}

extension ClientResult {
    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: id = try reader.string()
            case 2: wait = .milliseconds(Int64(min(try reader.varint(), 1 << 40)))
            default: try reader.skip()
            }
        }
    }
}

/// How a run has ended; nil where it has not.
struct ClientOutcome: Hashable, Sendable {
    var outcome: WorkflowOutcome?

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        switch outcome {
        case nil: break
        case .completed(let bytes): writer.bytesAlways(1, bytes)
        case .failed(let failure):
            writer.message(2) { writer in
                writer.string(1, failure.type)
                writer.string(2, failure.message)
            }
        case .cancelled(let reason): writer.stringAlways(3, reason)
        case .terminated(let reason): writer.stringAlways(4, reason)
        case .continued: writer.bool(5, true)
        }
        return writer.bytes
    }
}

extension ClientOutcome {
    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: outcome = .completed(try reader.bytes())
            case 2:
                var inner = try reader.message()
                var failure = WorkflowFailure(type: "", message: "")
                while let field = try inner.next() {
                    switch field {
                    case 1: failure.type = try inner.string()
                    case 2: failure.message = try inner.string()
                    default: try inner.skip()
                    }
                }
                outcome = .failed(failure)
            case 3: outcome = .cancelled(reason: try reader.string())
            case 4: outcome = .terminated(reason: try reader.string())
            case 5: outcome = try reader.bool() ? .continued : nil
            default: try reader.skip()
            }
        }
        guard outcome != nil || bytes.isEmpty else {
            throw WireError(
                .invalidValue, "the run ended in a way that this version does not know; upgrade this client")
        }
    }
}
