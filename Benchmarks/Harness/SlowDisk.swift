/// A disk whose every fsync takes longer, as that of a rented machine does. The tracer is no ancestor of the program, which
/// keeps its process id; static programs, such as those of Go, are held as well, which a preloaded library could not do.
enum SlowDisk {
    static let tracer = "/usr/bin/strace"
    private static let delayed = "fsync,fdatasync,sync_file_range,io_getevents"
    /// Calls with which threads begin, of the C library and of Go. strace stops a thread at each of its calls until it has
    /// seen one that it was asked for: one that never writes would be slowed for good, and many times.
    private static let firstOfThreads = "set_robust_list,rseq,gettid,sigaltstack"

    /// - Parameter delay: in microseconds; 0 leaves the program alone.
    static func command(_ path: String, _ arguments: [String], delay: Int) -> (path: String, arguments: [String]) {
        guard delay > 0 else { return (path, arguments) }
        let options = [
            "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none",
            "-e", "trace=\(delayed),\(firstOfThreads)", "-e", "inject=\(delayed):delay_exit=\(delay)",
        ]
        return (tracer, options + [path] + arguments)
    }
}
