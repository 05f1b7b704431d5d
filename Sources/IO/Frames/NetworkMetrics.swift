/// What went over a network's connections since it was made.
public struct NetworkMetrics: Hashable, Sendable {
    public var framesIn: UInt64 = 0
    public var framesOut: UInt64 = 0
    /// Bytes of frames with their headers, as they were received or taken for sending.
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    public var framesTooLong: UInt64 = 0
    public var framesDamaged: UInt64 = 0
    public var framesCut: UInt64 = 0
    public var connectionsOpened: UInt64 = 0
    public var connectionsClosed: UInt64 = 0

    public init() {}

    mutating func count(_ error: NetworkError) {
        switch error.code {
        case .frameTooLong: framesTooLong += 1
        case .frameDamaged: framesDamaged += 1
        case .frameCut: framesCut += 1
        case .invalidAddress, .addressInUse, .connectFailed, .connectionLost, .idle, .shutDown:
            break
        }
    }
}
