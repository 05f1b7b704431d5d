/// Why a loop cannot work.
public struct LoopError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable { case cannotStart }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}
