import Glibc

/// How busy the machine is.
public enum MachineLoad {
    /// The share of its processors that had work over the last minute, from 0 to 1: the system's load average, in which
    /// tasks that wait for the disk count as well. Zero where the system does not say.
    public static func share() -> Double {
        var average = 0.0
        let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        guard getloadavg(&average, 1) == 1, processors > 0 else { return 0 }
        return min(1, max(0, average / Double(processors)))
    }
}
