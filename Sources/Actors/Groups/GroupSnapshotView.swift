import FlotillaIO
import FlotillaRaft

/// A group's frozen state: what the machine holds and what makes its commands apply once.
/// Encoded as `flotilla.v1.GroupSnapshot` in Protos/commands.proto.
struct GroupSnapshotView: Sendable {
    var formatVersion: UInt32
    var time: Int64
    var sessions: ClientSessions
    var state: any SnapshotView

    func serialize() -> [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, UInt64(formatVersion))
        writer.signed(2, time)
        if !mutated(.snapshotForgetsSessions) { writer.message(3) { sessions.encode(into: &$0) } }
        writer.bytes(4, state.serialize())
        return writer.bytes
    }
}

/// The same, decoded.
struct GroupSnapshot {
    var formatVersion: UInt32 = 0
    var time: Int64 = 0
    var sessions = ClientSessions()
    var state: [UInt8] = []

    init(_ bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: formatVersion = try reader.uint32()
            case 2: time = try reader.signed()
            case 3:
                var inner = try reader.message()
                sessions = try ClientSessions(decoding: &inner)
            case 4: state = try reader.bytes()
            default: throw reader.unknownField(in: "a group's snapshot")
            }
        }
    }
}

extension RaftGroup {
    func snapshotView() -> GroupSnapshotView {
        GroupSnapshotView(
            formatVersion: type(of: stateMachine).formatVersion, time: time, sessions: sessions,
            state: stateMachine.snapshotView())
    }

    /// Replaces state machine, sessions and time by what a snapshot holds.
    func restoreState(_ bytes: [UInt8]) throws(ApplyError) {
        let snapshot: GroupSnapshot
        do {
            snapshot = try GroupSnapshot(bytes)
        } catch {
            throw ApplyError(.unknownFormat, "snapshot of \(identity.group): \(error)")
        }
        try stateMachine.restore(snapshot.state, formatVersion: snapshot.formatVersion)
        time = snapshot.time
        sessions = snapshot.sessions
    }

    /// The state of the snapshot that the log names, before the first entry behind it is applied.
    func restoreAtStart(_ bytes: [UInt8]) throws {
        guard let newest = snapshots.newest else { preconditionFailure("\(identity.group) has no snapshot") }
        try restoreState(bytes)
        appliedTerm = newest.term
        campaignIfDue()
        // Whoever waits for what is in it may wait for ever otherwise: nothing may be applied behind it for long, and a
        // node finds its peers by what the management group says.
        stateMachine.didApplyBatch()
    }
}
