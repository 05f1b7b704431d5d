import Glibc

/// How much memory this process takes, and may take.
public enum MachineMemory {
    /// What the process holds of memory that the system cannot take back, in bytes: resident, without pages of files. Zero
    /// where the system does not say.
    public static func used() -> Int {
        // Resident and shared are the second and third of these numbers, in pages.
        guard let text = read("/proc/self/statm") else { return 0 }
        let numbers = text.split(separator: " ").compactMap { Int($0) }
        guard numbers.count > 2 else { return 0 }
        return max(0, numbers[1] - numbers[2]) * Int(getpagesize())
    }

    /// What it may have: the machine's memory, or what its control group allows, in bytes; nil where the system does not say.
    public static func available() -> Int? {
        let machine = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(getpagesize())
        let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].compactMap { path in
            // Without a limit it says "max", or a number that no machine has.
            read(path).flatMap { Int($0.prefix { $0.isNumber }) }
        }
        return (limits + [machine]).filter { $0 > 0 }.min()
    }

    private static func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
            let count = fread(buffer.baseAddress, 1, buffer.count, file)
            return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
        }
    }
}
