/// What becomes of a value between its JSON and what is recorded of it, and back: compression, encryption, or another
/// notation altogether. See `NodeConfiguration.codec`.
///
/// It is applied where values come to a cluster and where they leave it: inputs, results of steps and workflows,
/// checkpoints, signals, updates and their answers. Names, ids, attributes and the messages of errors are not payloads.
public protocol PayloadCodec: Sendable {
    /// Is written beside each payload, so that readers know whose it is: 1 to 64 bytes, the same for ever.
    var name: String { get }

    /// Called on any thread but a loop's.
    ///
    /// Equal bytes should give equal results: by that a start, a signal or an update that is sent again is recognised as
    /// a repetition at once.
    /// - Parameter bytes: JSON, or what the codec before this one made of it.
    /// - Returns: nil to leave them as they are.
    func encode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8]?

    /// The bytes that `encode` was given.
    func decode(_ bytes: [UInt8]) throws(PayloadError) -> [UInt8]
}

/// Why a payload cannot be read or written here.
public struct PayloadError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: String, Sendable {
        /// This node does not have the codec.
        case unknownCodec
        /// This node does not have the key that it was encrypted with.
        case unknownKey
        /// It is not what was written: it was damaged or forged, or its key is another one of the same id.
        case damaged
        /// It cannot be written.
        case unencodable
        /// The keys, or the list of codecs, cannot be used.
        case invalidConfiguration
    }
    /// For programs.
    public var code: Code
    /// For people: what was wrong, without what the payload or a key says.
    public var message: String

    /// An error with words for people.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

extension WorkflowError {
    init(_ error: PayloadError) {
        switch error.code {
        case .unknownCodec, .unknownKey: self.init(.unknownPayloadKey, error.message)
        case .damaged: self.init(.damagedPayload, error.message)
        case .unencodable, .invalidConfiguration: self.init(.unencodable, error.message)
        }
    }
}
