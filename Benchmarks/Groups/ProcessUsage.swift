import CAllocations
import Glibc

/// What this process takes of the machine.
struct ProcessUsage {
    /// User and system time of all threads.
    var processorNanoseconds: UInt64
    var residentKilobytes: Int
    /// What was allocated and is in use, by the C library's own count.
    var heapBytes: Int

    static func current() -> ProcessUsage {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let nanoseconds = { (time: timeval) in UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1_000 }
        return ProcessUsage(
            processorNanoseconds: nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime),
            residentKilobytes: ChildProcess.residentKilobytes(of: getpid()) ?? 0,
            heapBytes: Int(callocations_bytes()))
    }
}
