public import FlotillaIO
public import FlotillaRaft

// The core's values in protobuf wire format, for the log on disk and for messages. The field numbers are those of the
// published `.proto` files. Decoders never trap; whatever they return is well-formed.

/// What a decoder does with a field that this version does not know.
public enum UnknownFields: Sendable {
    /// Throws `unknownField`: replicated and stored data, where skipping would let replicas diverge.
    case reject
    /// Passes over it: messages from a newer peer.
    case skip
}

extension ProtobufReader {
    /// Deals with the field that `next()` named and that no case matched.
    public mutating func unknown(in what: String, _ policy: UnknownFields) throws(WireError) {
        switch policy {
        case .reject: throw unknownField(in: what)
        case .skip: try skip()
        }
    }
}

extension Entry {
    public func encode(into writer: inout ProtobufWriter) {
        writer.varint(1, index.rawValue)
        writer.varint(2, term.rawValue)
        writer.varint(3, UInt64(kind.rawValue))
        writer.bytes(4, payload)
    }

    /// What `encode(into:)` writes, in bytes.
    var encodedSize: Int {
        func size(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + ProtobufWriter.varintSize(value) }
        let count = payload.count
        return size(index.rawValue) + size(term.rawValue) + size(UInt64(kind.rawValue))
            + (count == 0 ? 0 : 1 + ProtobufWriter.varintSize(UInt64(count)) + count)
    }

    /// As a nested message, of which nothing has to be moved.
    func encode(_ field: Int, into writer: inout ProtobufWriter) {
        writer.beginMessage(field, byteCount: encodedSize)
        encode(into: &writer)
    }

    /// An index or a term of zero is let through: forwarded proposals have neither yet.
    public init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        self.init(index: .zero, term: .zero, kind: .empty, payload: [])
        while let field = try reader.next() {
            switch field {
            case 1: index = LogIndex(try reader.varint())
            case 2: term = Term(try reader.varint())
            case 3:
                let value = try reader.varint()
                guard let known = UInt8(exactly: value).flatMap(Kind.init(rawValue:)) else {
                    throw WireError(.invalidValue, "entry kind \(value) is unknown to this version")
                }
                kind = known
            case 4: payload = try reader.bytes()
            default: try reader.unknown(in: "Entry", policy)
            }
        }
    }
}

extension HardState {
    public func encode(into writer: inout ProtobufWriter) {
        writer.varint(1, term.rawValue)
        if let vote { writer.varintAlways(2, vote.rawValue) }
        writer.varint(3, commit.rawValue)
    }

    public init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        self.init()
        while let field = try reader.next() {
            switch field {
            case 1: term = Term(try reader.varint())
            case 2: vote = ReplicaID(try reader.varint())
            case 3: commit = LogIndex(try reader.varint())
            default: try reader.unknown(in: "HardState", policy)
            }
        }
    }
}

extension SnapshotMetadata {
    public func encode(into writer: inout ProtobufWriter) {
        writer.varint(1, index.rawValue)
        writer.varint(2, term.rawValue)
        writer.message(3) { configuration.encode(into: &$0) }
    }

    public init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        var index = LogIndex.zero
        var term = Term.zero
        var configuration: Configuration?
        while let field = try reader.next() {
            switch field {
            case 1: index = LogIndex(try reader.varint())
            case 2: term = Term(try reader.varint())
            case 3:
                var inner = try reader.message()
                configuration = try Configuration(from: &inner, unknownFields: policy)
            default: try reader.unknown(in: "SnapshotMetadata", policy)
            }
        }
        guard let configuration else {
            throw WireError(.invalidValue, "a snapshot without a configuration")
        }
        self.init(index: index, term: term, configuration: configuration)
    }
}

extension ConfigurationChange {
    /// How many operations one change may hold; a longer one is refused when decoded.
    public static let maximumOperations = 1024

    /// The change that leaves a joint configuration (no operations) is no bytes at all.
    public func encode(into writer: inout ProtobufWriter) {
        writer.varint(1, UInt64(transition.rawValue))
        for operation in operations {
            writer.message(2) { operation.encode(into: &$0) }
        }
    }

    public init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        self.init([])
        while let field = try reader.next() {
            switch field {
            case 1:
                let value = try reader.varint()
                guard let known = UInt8(exactly: value).flatMap(Transition.init(rawValue:)) else {
                    throw WireError(.invalidValue, "transition \(value) is unknown to this version")
                }
                transition = known
            case 2:
                guard operations.count < Self.maximumOperations else {
                    throw WireError(
                        .invalidValue, "a change of more than \(Self.maximumOperations) operations")
                }
                var inner = try reader.message()
                operations.append(try Operation(from: &inner, unknownFields: policy))
            default: try reader.unknown(in: "ConfigurationChange", policy)
            }
        }
    }
}

extension ConfigurationChange.Operation {
    func encode(into writer: inout ProtobufWriter) {
        switch self {
        case .addLearner(let node): writer.varintAlways(1, node.rawValue)
        case .addVoter(let node): writer.varintAlways(2, node.rawValue)
        case .promote(let replica): writer.varintAlways(3, replica.rawValue)
        case .demote(let replica): writer.varintAlways(4, replica.rawValue)
        case .remove(let replica): writer.varintAlways(5, replica.rawValue)
        }
    }

    init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields) throws(WireError) {
        var operations: [Self] = []
        while let field = try reader.next() {
            switch field {
            case 1: operations.append(.addLearner(NodeID(try reader.varint())))
            case 2: operations.append(.addVoter(NodeID(try reader.varint())))
            case 3: operations.append(.promote(ReplicaID(try reader.varint())))
            case 4: operations.append(.demote(ReplicaID(try reader.varint())))
            case 5: operations.append(.remove(ReplicaID(try reader.varint())))
            default: try reader.unknown(in: "ConfigurationChange.Operation", policy)
            }
        }
        guard operations.count == 1 else {
            throw WireError(
                .invalidValue, "an operation that asks for \(operations.count) things, not for one")
        }
        self = operations[0]
    }
}
