import FlotillaIO

/// What a run is found by in lists: small texts by name, set at its start and by its body.
struct RunAttributes: Hashable, Sendable {
    private(set) var values: [ByteText: ByteText] = [:]

    init() {}

    /// - Throws: `WorkflowError` with `invalidAttribute`.
    init(checking values: [String: String]) throws {
        try Self.check(values.mapValues(Optional.some))
        for (name, value) in values { self.values[ByteText(name)] = ByteText(value) }
    }

    var isEmpty: Bool { values.isEmpty }

    var texts: [String: String] {
        Dictionary(values.map { ($0.key.text, $0.value.text) }, uniquingKeysWith: { first, _ in first })
    }

    /// With some of them set, or, where there is nil, taken away.
    func merging(_ changes: [ByteText: ByteText?]) -> RunAttributes {
        var merged = self
        for (name, value) in changes { merged.values[name] = value }
        return merged
    }

    /// - Throws: `WorkflowError` with `invalidAttribute`.
    static func check(_ changes: [String: String?]) throws {
        guard changes.count <= WorkflowLimits.attributesMax else {
            throw WorkflowError(
                .invalidAttribute, "\(changes.count) attributes, and a run has \(WorkflowLimits.attributesMax) at most")
        }
        for (name, value) in changes {
            // Other characters have several spellings, which a reader takes for one name and a record for several.
            guard !name.isEmpty, name.utf8.count <= WorkflowLimits.attributeNameBytesMax,
                name.utf8.allSatisfy({
                    (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: ",")
                })
            else {
                throw WorkflowError(
                    .invalidAttribute,
                    "'\(name)' is no name of an attribute: 1 to \(WorkflowLimits.attributeNameBytesMax) letters, "
                        + "digits and signs of ASCII, without '=' and ','")
            }
            guard value?.utf8.count ?? 0 <= WorkflowLimits.attributeValueBytesMax else {
                throw WorkflowError(
                    .invalidAttribute,
                    "attribute '\(name)' has \(value?.utf8.count ?? 0) bytes, and may have "
                        + "\(WorkflowLimits.attributeValueBytesMax)")
            }
        }
    }

    // MARK: Encoding

    /// By name, each as a message of the field.
    func write(to writer: inout ProtobufWriter, _ field: Int) {
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            writer.message(field) { writer in
                writer.string(1, name.text)
                writer.string(2, value.text)
            }
        }
    }

    /// Reads one of them.
    mutating func read(from reader: inout ProtobufReader) throws(WireError) {
        var (name, value) = ("", "")
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: value = try reader.string()
            default: throw reader.unknownField(in: "an attribute")
            }
        }
        values[ByteText(name)] = ByteText(value)
    }
}
