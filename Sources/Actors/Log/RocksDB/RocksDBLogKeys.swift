import FlotillaIO
import FlotillaRaft

// The log in RocksDB. Data directories outlive the code that wrote them: change nothing here without a new version.
//
//   entries        group, incarnation, index             the entry
//   hard_state     group, incarnation                    term, vote and commit index
//   conf_state     group, incarnation                    the newest snapshot: index, term, configuration
//   node_metadata  "version"                             of this format
//                  "identity", "boot"                    who the node is; how often the directory was opened
//                  "replica", group, incarnation         who the replica is
//                  "base", group, incarnation            index and term right before the first entry, where the replica has
//                                                        a snapshot; the snapshot's own where there is none
//                  "removed", number                     a replica that was removed, in the order of removal
//
// Numbers in keys are 64 bits, big-endian, so that keys sort as the numbers do. Values are protobuf messages, as in the
// log of our own. Snapshots are in files beside the database. RocksDB keeps checksums of its files and of its write-ahead log.

/// The column families, in the order in which the database is opened.
enum RocksFamily: Int, CaseIterable {
    case entries, hardState, confState, nodeMetadata

    var name: String {
        switch self {
        case .entries: "entries"
        case .hardState: "hard_state"
        case .confState: "conf_state"
        case .nodeMetadata: "node_metadata"
        }
    }
}

enum RocksKey {
    static let version = Array("version".utf8)
    static let identity = Array("identity".utf8)
    static let boot = Array("boot".utf8)
    static let replicaPrefix = Array("replica".utf8)
    static let basePrefix = Array("base".utf8)
    static let removedPrefix = Array("removed".utf8)

    static func group(_ key: LogKey) -> [UInt8] { bytes(key.group.rawValue, key.incarnation) }

    static func replica(_ key: LogKey) -> [UInt8] { replicaPrefix + group(key) }

    static func base(_ key: LogKey) -> [UInt8] { basePrefix + group(key) }

    static func removed(_ number: Int) -> [UInt8] { removedPrefix + bytes(UInt64(number)) }

    static func entry(_ key: LogKey, _ index: LogIndex) -> [UInt8] {
        bytes(key.group.rawValue, key.incarnation, index.rawValue)
    }

    /// Behind every entry of the replica that can be.
    static func entriesEnd(_ key: LogKey) -> [UInt8] { group(key) + Array(repeating: 0xFF, count: 9) }

    /// The numbers that a key consists of; nil if it consists of another number of them.
    static func numbers(_ key: some Collection<UInt8>, count: Int) -> [UInt64]? {
        guard key.count == 8 * count else { return nil }
        var numbers: [UInt64] = []
        for (position, byte) in key.enumerated() {
            if position % 8 == 0 { numbers.append(0) }
            numbers[numbers.count - 1] = numbers[numbers.count - 1] << 8 | UInt64(byte)
        }
        return numbers
    }

    private static func bytes(_ numbers: UInt64...) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 * numbers.count)
        for number in numbers { withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) } }
        return bytes
    }
}
