import Glibc

/// One execution of a workflow: a UUIDv7, chosen by the node that proposed the start.
public struct RunID: Hashable, Codable, Sendable, CustomStringConvertible {
    /// The first 64 bits: the milliseconds since 1970, and some chance.
    public let high: UInt64
    /// The last 64 bits: chance.
    public let low: UInt64

    /// A run id of its 128 bits, which are not checked.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A UUIDv7 (RFC 9562, 5.7) from milliseconds since 1970 and 74 of the 128 random bits given.
    public init(milliseconds: Int64, random: (UInt64, UInt64)) {
        let time = UInt64(bitPattern: milliseconds) & 0xFFFF_FFFF_FFFF
        high = time << 16 | 0x7000 | (random.0 & 0x0FFF)
        low = 0x8000_0000_0000_0000 | (random.1 & 0x3FFF_FFFF_FFFF_FFFF)
    }

    /// - Returns: nil unless there are 16 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        high = bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// - Returns: nil unless the text is what `description` gives.
    public init?(_ text: String) {
        let digits = text.utf8.filter { $0 != UInt8(ascii: "-") }
        guard digits.count == 32, let high = UInt64(String(decoding: digits[..<16], as: UTF8.self), radix: 16),
            let low = UInt64(String(decoding: digits[16...], as: UTF8.self), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
        guard description == text else { return nil }
    }

    /// Big-endian, as RFC 9562 prints it.
    public var bytes: [UInt8] {
        [high, low].flatMap { half in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> $0) }
        }
    }

    public var description: String { uuidText(high: high, low: low) }
}

/// The usual text of a UUID: lower case, with hyphens.
func uuidText(high: UInt64, low: UInt64) -> String {
    func hex(_ value: UInt64, _ digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    return [
        hex(high >> 32, 8), hex(high >> 16 & 0xFFFF, 4), hex(high & 0xFFFF, 4), hex(low >> 48, 4),
        hex(low & 0xFFFF_FFFF_FFFF, 12),
    ].joined(separator: "-")
}

/// Text that is compared by its UTF-8 bytes.
///
/// `String` compares by Unicode's canonical equivalence, whose tables come with the Swift runtime: two nodes with
/// different runtimes could disagree on whether two keys are one.
struct ByteText: Hashable, Comparable, Codable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    let text: String

    init(_ text: String) { self.text = text }
    init(stringLiteral text: String) { self.text = text }

    var description: String { text }

    static func == (a: ByteText, b: ByteText) -> Bool {
        a.text.utf8.count == b.text.utf8.count && difference(a, b) == 0
    }

    static func < (a: ByteText, b: ByteText) -> Bool { difference(a, b) < 0 }

    /// Below zero where `a` comes first, zero where they are equal. In one call each: keys are compared with every command.
    private static func difference(_ a: ByteText, _ b: ByteText) -> Int {
        var (a, b) = (a.text, b.text)
        return a.withUTF8 { a in
            b.withUTF8 { b in
                guard let first = a.baseAddress, let second = b.baseAddress else { return a.count - b.count }
                let order = memcmp(first, second, min(a.count, b.count))
                return order == 0 ? a.count - b.count : Int(order)
            }
        }
    }

    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

/// Where a run is found: workflow ids are unique in their namespace.
struct RunKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    var namespace: ByteText
    var workflowID: ByteText

    init(_ namespace: String, _ workflowID: String) {
        self.namespace = ByteText(namespace)
        self.workflowID = ByteText(workflowID)
    }

    var description: String { "\(namespace)/\(workflowID)" }
    static func < (a: RunKey, b: RunKey) -> Bool {
        (a.namespace, a.workflowID) < (b.namespace, b.workflowID)
    }
}

/// A step, a timer or a checkpoint within a run: the same name may come again and again, counted from 0.
struct StepKey: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    var name: ByteText
    var occurrence: UInt64

    init(_ name: String, _ occurrence: UInt64) {
        self.name = ByteText(name)
        self.occurrence = occurrence
    }

    var description: String { "\(name)#\(occurrence)" }
    static func < (a: StepKey, b: StepKey) -> Bool {
        (a.name, a.occurrence) < (b.name, b.occurrence)
    }
}

/// A registered workflow: several versions of one name live side by side.
public struct WorkflowType: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    private let bytes: ByteText
    /// The workflow's name.
    public var name: String { bytes.text }
    /// The version, from 1.
    public let version: UInt32

    /// A version of a workflow; neither is checked here.
    public init(_ name: String, version: UInt32) {
        bytes = ByteText(name)
        self.version = version
    }

    public var description: String { "'\(name)' version \(version)" }
    public static func < (a: WorkflowType, b: WorkflowType) -> Bool {
        (a.bytes, a.version) < (b.bytes, b.version)
    }
}
