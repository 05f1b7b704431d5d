/// Why bytes are not the JSON that was expected.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong with the bytes.
    public enum Code: String, Sendable {
        /// They are no JSON document.
        case syntax
        /// A key stands twice in an object.
        case duplicateKey
        /// Arrays and objects are nested deeper than they may be.
        case tooDeep
        /// A string is no UTF-8, or has half of a surrogate pair.
        case invalidText
        /// A number fits neither into 64 bits nor into a `Double`.
        case numberOutOfRange
    }
    /// For programs.
    public var code: Code
    /// For people: what is wrong, and where.
    public var message: String
    /// An error with words for people.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}

extension JSONValue {
    /// How deep arrays and objects may be nested.
    public static let depthMax = 128

    /// Reads one document (RFC 8259). It never traps, whatever the bytes.
    /// - Throws: also for two equal keys in one object, and for an integer that neither 64 bits nor a double hold
    ///   exactly: another reader would see another number.
    public init(parsing bytes: [UInt8]) throws(JSONError) {
        var parser = JSONParser(bytes: bytes)
        self = try parser.document()
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSONError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw syntax("more after the document") }
        return value
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= JSONValue.depthMax else {
            throw JSONError(
                .tooDeep, "nested deeper than \(JSONValue.depthMax) at byte \(position)")
        }
        skipSpace()
        switch peek {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")):
            return try number()
        default: throw syntax("a value is missing")
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> [String: JSONValue] {
        position += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take("}") { return members }
        repeat {
            skipSpace()
            guard peek == UInt8(ascii: "\"") else { throw syntax("a key is missing") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw syntax("a colon is missing") }
            let member = try value(depth: depth + 1)
            guard members.updateValue(member, forKey: key) == nil else {
                throw JSONError(
                    .duplicateKey, "key '\(key)' stands twice in one object before byte \(position)"
                )
            }
            skipSpace()
        } while take(",")
        guard take("}") else { throw syntax("a comma or a closing brace is missing") }
        return members
    }

    private mutating func array(depth: Int) throws(JSONError) -> [JSONValue] {
        position += 1
        var members: [JSONValue] = []
        skipSpace()
        if take("]") { return members }
        repeat {
            members.append(try value(depth: depth + 1))
            skipSpace()
        } while take(",")
        guard take("]") else { throw syntax("a comma or a closing bracket is missing") }
        return members
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
        guard bytes[position...].starts(with: word.utf8) else {
            throw syntax("'\(word)' is misspelt")
        }
        position += word.utf8.count
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        _ = take("-")
        let integerStart = position
        guard skipDigits() > 0 else { throw syntax("a digit is missing") }
        guard bytes[integerStart] != UInt8(ascii: "0") || position == integerStart + 1 else {
            throw syntax("a number begins with a superfluous zero")
        }
        var isWhole = true
        if take(".") {
            isWhole = false
            guard skipDigits() > 0 else { throw syntax("a digit is missing") }
        }
        if take("e") || take("E") {
            isWhole = false
            _ = take("+") || take("-")
            guard skipDigits() > 0 else { throw syntax("a digit is missing") }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let value = Int64(text) { return .integer(value) }
        if isWhole, let value = UInt64(text) { return .unsigned(value) }
        guard let value = Double(text), value.isFinite else {
            throw JSONError(.numberOutOfRange, "the number \(text.prefix(40)) is beyond a double")
        }
        guard isWhole else { return JSONValue(canonical: value) }
        guard significantDigits("\(value)") == significantDigits(text) else {
            throw JSONError(
                .numberOutOfRange,
                "the integer \(text.prefix(40)) does not fit 64 bits; send it as a string")
        }
        return JSONValue(canonical: value)
    }

    /// The digits of a number without point, exponent and the zeros at both ends.
    private func significantDigits(_ text: String) -> [UInt8] {
        let mantissa = text.utf8.prefix { $0 != UInt8(ascii: "e") }
        var digits = mantissa.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        while digits.last == UInt8(ascii: "0") { digits.removeLast() }
        return Array(digits.drop { $0 == UInt8(ascii: "0") })
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            position += 1
        }
        return position - start
    }

    // MARK: Strings

    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        var text: [UInt8] = []
        while let byte = peek {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let result = String(validating: text, as: UTF8.self) else {
                    throw JSONError(.invalidText, "the string at byte \(start) is not UTF-8")
                }
                return result
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw syntax("a control character stands in a string; escape it")
            default: text.append(byte)
            }
        }
        throw syntax("a string does not end")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        guard let byte = peek else { throw syntax("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var scalar = try hex4()
            if (0xD800..<0xDC00).contains(scalar), take("\\"), take("u") {
                let low = try hex4()
                guard (0xDC00..<0xE000).contains(low) else { throw halfPair() }
                scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(scalar) else { throw halfPair() }
            text += Array(String(Character(scalar)).utf8)
        default: throw syntax("an unknown escape")
        }
    }

    private mutating func hex4() throws(JSONError) -> UInt32 {
        guard position + 4 <= bytes.count else { throw syntax("an escape does not end") }
        var value: UInt32 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw syntax("an escape has a digit that is none")
            }
            value = value << 4 | UInt32(digit)
        }
        position += 4
        return value
    }

    private func halfPair() -> JSONError {
        JSONError(.invalidText, "half of a surrogate pair before byte \(position)")
    }

    // MARK: Bytes

    private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private func syntax(_ what: String) -> JSONError {
        JSONError(.syntax, "\(what) at byte \(position)")
    }
}

extension JSONValue {
    /// A number in its one form: whole numbers that 64 bits hold are integers.
    init(canonical value: Double) {
        if let whole = Int64(exactly: value) {
            self = .integer(whole)
        } else if let whole = UInt64(exactly: value) {
            self = .unsigned(whole)
        } else {
            self = .number(value)
        }
    }
}
