import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What an outside system is given to complete an awakeable: it says where, and nobody can guess it.
struct AwakeableToken: Hashable, Sendable {
    /// The group that the run was in when the token was made; the run may have moved.
    var group: GroupID
    var run: RunAddress
    var awakeable: StepKey
    /// 128 random bits.
    var secret: [UInt8]

    private static let prefix = "awk_"

    /// Letters, digits, '-' and '_' only: it may stand in a path.
    var text: String {
        var writer = ProtobufWriter()
        writer.write(run, awakeable)
        writer.varint(5, group.rawValue)
        writer.bytes(6, secret)
        return Self.prefix + Base64URL.encode(writer.bytes)
    }

    init(group: GroupID, run: RunAddress, awakeable: StepKey, secret: [UInt8]) {
        self.group = group
        self.run = run
        self.awakeable = awakeable
        self.secret = secret
    }

    /// - Throws: `WorkflowError` with `notFound` unless the text is a token.
    init(checking text: String) throws {
        guard let token = AwakeableToken(text) else {
            throw WorkflowError(.notFound, "'\(text.prefix(100))' is no token of an awakeable")
        }
        self = token
    }

    /// - Returns: nil unless the text is a token.
    init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), let bytes = Base64URL.decode(text.dropFirst(Self.prefix.count)) else {
            return nil
        }
        var reader = ProtobufReader(bytes)
        var (workflowID, name, occurrence, group) = ("", "", UInt64(0), UInt64(0))
        var runID: RunID?
        var secret: [UInt8] = []
        do throws(WireError) {
            while let field = try reader.next() {
                switch field {
                case 1: workflowID = try reader.string()
                case 2: runID = RunID(bytes: try reader.bytes())
                case 3: name = try reader.string()
                case 4: occurrence = try reader.varint()
                case 5: group = try reader.varint()
                case 6: secret = try reader.bytes()
                default: return nil
                }
            }
        } catch {
            return nil
        }
        guard let runID else { return nil }
        self.init(
            group: GroupID(group), run: RunAddress(workflowID: workflowID, runID: runID),
            awakeable: StepKey(name, occurrence), secret: secret)
    }
}
