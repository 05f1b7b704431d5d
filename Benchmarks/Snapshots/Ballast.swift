import FlotillaActors
import FlotillaRaft

/// A state that is as large as it was made, whatever is proposed, so that its snapshots cost and its log does not. It
/// is held in small blocks, as a real state is: decoding it and letting go of it takes time.
final class Ballast: StateMachine {
    static let formatVersion: UInt32 = 1
    private static let blockBytes = 1 << 10
    private var state: View

    struct View: SnapshotView {
        var blocks: [[UInt8]]

        func serialize() -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.reserveCapacity(blocks.count * blockBytes)
            for block in blocks { bytes += block }
            return bytes
        }
    }

    init(_ state: View) { self.state = state }

    func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer { Answer() }
    func isForOthers(_ operation: FlotillaActors.Operation) -> Bool { false }
    func didApplyBatch() {}
    func snapshotView() -> any SnapshotView { state }

    static func decode(_ bytes: [UInt8], formatVersion: UInt32) -> View {
        View(
            blocks: stride(from: 0, to: bytes.count, by: blockBytes).map {
                Array(bytes[$0..<min($0 + blockBytes, bytes.count)])
            })
    }

    func restore(_ state: View) { self.state = state }

    /// Text like that of recorded steps: words that recur between numbers that do not.
    static func text(bytes count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 256)
        var number: UInt64 = 0
        let beginning = Array("{\"step\":\"reserve\",\"state\":\"done\",\"order\":\"".utf8)
        while bytes.count < count {
            number &+= 0x9E37_79B9_7F4A_7C15
            bytes += beginning
            for shift in stride(from: 0, to: 64, by: 4) {
                bytes.append(UInt8(ascii: "a") + UInt8(number >> shift & 15))
            }
            bytes += [UInt8(ascii: "\""), UInt8(ascii: "}"), UInt8(ascii: "\n")]
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
