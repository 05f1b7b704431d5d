/// Where peers meet. Frames go out and come in whole; whether one arrives is never certain.
public protocol Network: Sendable {
    /// Accepts connections on `address` ("host:port"; port 0 takes a free one). Loop only.
    /// - Parameter accept: called on the loop for each connection; it must set the connection's `delegate`.
    func listen(
        on address: String, loop: any Loop, accept: @escaping @Sendable (any FrameConnection) -> Void
    ) throws(NetworkError) -> any NetworkListener
    /// Starts to connect; the delegate hears of the outcome later. Loop only.
    func connect(to address: String, loop: any Loop, delegate: any FrameConnectionDelegate) -> any FrameConnection
}

public protocol NetworkListener: AnyObject, Sendable {
    /// The address in force, with the port that was chosen.
    var address: String { get }
    /// Stops accepting. Loop only; idempotent.
    func close()
}

/// One connection that carries frames. Confined to its loop.
public protocol FrameConnection: AnyObject, Sendable {
    var delegate: (any FrameConnectionDelegate)? { get set }
    /// The other end, for logs.
    var remoteAddress: String { get }
    /// Takes a frame's payload; the connection adds length and checksum.
    /// - Returns: false, and takes nothing, while more than `writeQueueLimit` bytes wait: the caller keeps or drops it.
    func send(_ payload: [UInt8]) -> Bool
    /// Hands what was sent to the system at once, and not at the end of the loop's turn.
    func flush()
    /// Closes at once; the delegate hears `connectionDidClose` exactly once, later, on the loop. Idempotent.
    func close()
}

extension FrameConnection {
    public func flush() {}
}

/// Called on the connection's loop.
public protocol FrameConnectionDelegate: AnyObject, Sendable {
    /// An outgoing connection is established. Not called for accepted ones.
    func connectionDidOpen(_ connection: any FrameConnection)
    /// One frame's payload, whole and with a matching checksum.
    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8])
    /// The write queue fell below its low mark after `send` had returned false.
    func connectionIsWritable(_ connection: any FrameConnection)
    /// The last call. `error` is nil for an orderly end of either side.
    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?)
}

/// Why a connection or a listener failed.
public struct NetworkError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case invalidAddress, addressInUse, connectFailed, connectionLost, idle
        case frameTooLong, frameDamaged, frameCut
        case shutDown
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}
