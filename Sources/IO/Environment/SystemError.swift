import Glibc

/// The system's words for an error number, such as "No space left on device".
func systemErrorText(_ number: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
        guard strerror_r(number, buffer.baseAddress!, buffer.count) == 0 else { return "error \(number)" }
        return String(cString: buffer.baseAddress!)
    }
}
