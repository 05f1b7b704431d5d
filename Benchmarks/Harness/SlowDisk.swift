/// A disk whose every fsync takes longer, as that of a rented machine does. The tracer is no ancestor of the program, which
/// keeps its process id; static programs, such as those of Go, are held as well, which a preloaded library could not do.
enum SlowDisk {
    static let tracer = "/usr/bin/strace"

    /// - Parameter delay: in microseconds; 0 leaves the program alone.
    static func command(_ path: String, _ arguments: [String], delay: Int) -> (path: String, arguments: [String]) {
        guard delay > 0 else { return (path, arguments) }
        let calls = "fsync,fdatasync,sync_file_range,io_getevents"
        let options = [
            "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", "trace=\(calls)",
            "-e", "inject=\(calls):delay_exit=\(delay)",
        ]
        return (tracer, options + [path] + arguments)
    }
}
