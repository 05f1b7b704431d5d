extension TCPStream {
    package static let readBufferBytes = 64 * 1024
    /// While more than this waits, `isWriteQueueFull`.
    package static let writeQueueLimit = 4 * 1024 * 1024
    /// `streamIsWritable` is called below this.
    package static let writeQueueLowMark = 1024 * 1024
    /// From `connect` to the established connection, name lookup included; then `connectFailed`.
    package static let connectTimeout: Duration = .seconds(3)
    /// How long `closeAfterWriting` waits for the last bytes to be taken; then they are dropped.
    package static let lastWriteTimeout: Duration = .seconds(30)
    /// How long it then waits for the other end to close, so that a reset does not overtake the
    /// last bytes.
    package static let lingerTimeout: Duration = .seconds(2)
}
