import FlotillaIO

/// What the simulator decided to do next; part of the trace.
enum Decision: UInt8 {
    case poolJob = 1
    case loopJob, loopWork, loopTimer
    case worldWork
    case wake
    case processStarted, processEnded
    case note
}

/// FNV-1a over every decision: two runs with one hash did the same things in the same order at the same times.
struct Trace {
    private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ decision: Decision, node: UInt64, time: MonotonicTime) {
        add(byte: decision.rawValue)
        add(node)
        add(time.nanoseconds)
    }

    mutating func add(_ word: UInt64) {
        var rest = word
        for _ in 0..<8 {
            add(byte: UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    mutating func add(text: String) {
        for byte in text.utf8 { add(byte: byte) }
    }

    private mutating func add(byte: UInt8) {
        hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }
}
