import CAllocations
import FlotillaActors
import FlotillaIO

/// The stores that are compared.
enum MeasuredStore: String, CaseIterable {
    case log
    case rocksdb

    func make(in directory: String) -> any LogStore {
        switch self {
        case .log: DiskLogStore(directory: directory, fileSystem: PosixFileSystem())
        case .rocksdb: RocksDBLogStore(directory: directory)
        }
    }
}

/// What this process has asked of the disk so far, whoever in it did: RocksDB calls the system by itself.
struct DiskCounts {
    var syncs: UInt64
    /// Given to write calls.
    var bytesWritten: UInt64

    static func read() throws(BenchError) -> DiskCounts {
        for line in try readText("/proc/self/io").split(separator: "\n") where line.hasPrefix("wchar: ") {
            if let bytes = UInt64(line.dropFirst(7)) {
                return DiskCounts(syncs: callocations_syncs(), bytesWritten: bytes)
            }
        }
        throw BenchError("/proc/self/io does not say how many bytes were written")
    }
}
