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

/// A group's decoded state, not in force yet.
struct GroupRestoration: Sendable {
    var time: Int64
    var sessions: ClientSessions
    /// Of all of it, as it was decoded.
    var bytes: UInt64
    /// Of the state machine.
    var restore: @Sendable (any StateMachine) -> Void
}

extension RaftGroup {
    func snapshotView() -> GroupSnapshotView {
        GroupSnapshotView(
            formatVersion: type(of: stateMachine).formatVersion, time: time, sessions: sessions,
            state: stateMachine.snapshotView())
    }

    /// Decodes what a snapshot holds, on any thread.
    static func decodeState(
        _ bytes: [UInt8], for machine: any StateMachine.Type
    ) throws(ApplyError) -> GroupRestoration {
        let snapshot: GroupSnapshot
        do {
            snapshot = try GroupSnapshot(bytes)
        } catch {
            throw ApplyError(.unknownFormat, error.description)
        }
        return GroupRestoration(
            time: snapshot.time, sessions: snapshot.sessions, bytes: UInt64(bytes.count),
            restore: try machine.restoration(snapshot.state, formatVersion: snapshot.formatVersion))
    }

    /// Replaces state machine, sessions and time. The next snapshot is due when it is on who took this one.
    func restoreState(_ restoration: GroupRestoration) {
        restoration.restore(stateMachine)
        snapshots.bytes = restoration.bytes
        time = restoration.time
        sessions = restoration.sessions
    }

    /// The state of the snapshot that the log names, before the first entry behind it is applied.
    func restoreAtStart(_ bytes: [UInt8]) throws {
        guard let newest = snapshots.newest else { preconditionFailure("\(identity.group) has no snapshot") }
        restoreState(try Self.decodeState(bytes, for: type(of: stateMachine)))
        appliedTerm = newest.term
        campaignIfDue()
        // Whoever waits for what is in it may wait for ever otherwise: nothing may be applied behind it for long, and a
        // node finds its peers by what the management group says.
        stateMachine.didApplyBatch()
    }
}
