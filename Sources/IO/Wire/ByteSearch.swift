import Glibc

extension [UInt8] {
    /// The offset of the first place at or behind `start` where `number` stands, little-endian; nil if there is none.
    public func firstOffset(of number: UInt32, from start: Int) -> Int? {
        withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return nil }
            let first = Int32(UInt8(truncatingIfNeeded: number))
            var candidate = start
            while candidate <= bytes.count - MemoryLayout<UInt32>.size {
                guard let found = memchr(base + candidate, first, bytes.count - candidate) else { return nil }
                candidate = base.distance(to: UnsafeRawPointer(found))
                if candidate > bytes.count - MemoryLayout<UInt32>.size { return nil }
                let value = bytes.loadUnaligned(fromByteOffset: candidate, as: UInt32.self)
                if UInt32(littleEndian: value) == number { return candidate }
                candidate += 1
            }
            return nil
        }
    }
}
