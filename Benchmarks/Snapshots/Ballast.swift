import FlotillaActors
import FlotillaRaft

/// A state that is as large as it was made, whatever is proposed, so that its snapshots cost and its log does not.
final class Ballast: StateMachine {
    static let formatVersion: UInt32 = 1
    private var bytes: [UInt8]

    struct View: SnapshotView {
        let bytes: [UInt8]
        func serialize() -> [UInt8] { bytes }
    }

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer { Answer() }
    func didApplyBatch() {}
    func snapshotView() -> any SnapshotView { View(bytes: bytes) }
    func restore(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) { self.bytes = bytes }

    /// Text like that of recorded steps: words that recur between numbers that do not.
    static func text(bytes count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 256)
        var number: UInt64 = 0
        while bytes.count < count {
            number &+= 0x9E37_79B9_7F4A_7C15
            bytes +=
                "{\"step\":\"reserve\",\"order\":\"\(number)\",\"state\":\"done\",\"amount\":\(number >> 44)}\n".utf8
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
