import FlotillaIO

/// What a run is found by in lists: small texts by name, set at its start and by its body.
struct RunAttributes: Hashable, Sendable {
    private struct Attribute: Hashable {
        var name: ByteText
        var value: ByteText
    }

    /// By name. Few, and most runs have none or one, so that a dictionary would take twice as much.
    private var attributes: [Attribute] = []

    init() {}

    var count: Int { attributes.count }

    private(set) subscript(name: ByteText) -> ByteText? {
        get { attributes.first { $0.name == name }?.value }
        set {
            let place = attributes.firstIndex { $0.name >= name } ?? attributes.count
            let isThere = place < attributes.count && attributes[place].name == name
            guard let newValue else {
                if isThere { attributes.remove(at: place) }
                return
            }
            if isThere {
                attributes[place].value = newValue
            } else {
                attributes.insert(Attribute(name: name, value: newValue), at: place)
            }
        }
    }

    /// - Throws: `WorkflowError` with `invalidAttribute`.
    init(checking values: [String: String]) throws {
        try Self.check(values.mapValues(Optional.some))
        attributes = values.map { Attribute(name: ByteText($0.key), value: ByteText($0.value)) }
            .sorted { $0.name < $1.name }
    }

    var isEmpty: Bool { attributes.isEmpty }

    var texts: [String: String] {
        Dictionary(attributes.map { ($0.name.text, $0.value.text) }, uniquingKeysWith: { first, _ in first })
    }

    /// With some of them set, or, where there is nil, taken away.
    func merging(_ changes: [ByteText: ByteText?]) -> RunAttributes {
        var merged = self
        for (name, value) in changes { merged[name] = value }
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
        for attribute in attributes {
            writer.message(field) { writer in
                writer.string(1, attribute.name.text)
                writer.string(2, attribute.value.text)
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
        self[ByteText(name)] = ByteText(value)
    }
}
