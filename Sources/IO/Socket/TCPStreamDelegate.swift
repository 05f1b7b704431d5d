/// Called on the stream's loop.
package protocol TCPStreamDelegate: AnyObject {
    /// An outgoing connection is established. Not called for accepted ones.
    func streamDidOpen()
    /// `bytes` are gone after the call.
    func streamDidReceive(_ bytes: RawSpan)
    /// The other end will send no more; it may still read.
    func streamDidEnd()
    /// The write queue fell below its low mark after it had been found full.
    func streamIsWritable()
    /// The last call. `error` is nil if our side closed, or both did in order.
    func streamDidClose(_ error: NetworkError?)
}
