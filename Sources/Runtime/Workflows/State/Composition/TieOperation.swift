import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a workflow group does about runs that are tied to others; see workflow.proto. Their numbers begin at 73.
enum TieOperation: Hashable, Sendable {
    /// Under the run's epoch. Puts what a run tells another one into its record; the answer is recorded as the post's
    /// step. A child's policy comes with its start.
    case post(RunAddress, RunTies.Post, ParentClosePolicy?)
    /// From the group's leader: a post was dealt with. What is recorded of it; nil where nobody waits for that.
    case settle(RunAddress, number: UInt64, [UInt8]?, isFailure: Bool)
    /// Under the run's epoch. Records how a child ended, if it has.
    case takeEnd(RunAddress, child: StepKey)
    /// Tells a parent how a child ended, and under which id it ran.
    case reportEnd(RunTies.Parent, child: RunID, [UInt8])
    /// Tells a child that its parent has ended.
    case closeChild(workflowID: String, parent: RunID, ParentClosePolicy)

    /// As `WorkflowOperation.workflowID`.
    var workflowID: String {
        switch self {
        case .post(let run, _, _), .settle(let run, _, _, _), .takeEnd(let run, _): run.workflowID
        case .reportEnd(let parent, _, _): parent.workflowID
        case .closeChild(let workflowID, _, _): workflowID
        }
    }
}

// MARK: Encoding

extension TieOperation {
    private enum Number: UInt32 {
        case post = 73
        case settle, takeEnd, reportEnd, closeChild
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .post(let run, let post, let policy):
            number = .post
            writer.write(run)
            if let policy { writer.varint(3, UInt64(policy.rawValue)) }
            writer.message(4) { post.write(to: &$0) }
        case .settle(let run, let post, let value, let isFailure):
            number = .settle
            writer.write(run)
            writer.varint(5, post)
            if let value { writer.bytesAlways(6, value) }
            writer.bool(7, isFailure)
        case .takeEnd(let run, let child):
            number = .takeEnd
            writer.write(run)
            writer.string(8, child.name.text)
            writer.varint(9, child.occurrence)
        case .reportEnd(let parent, let child, let value):
            number = .reportEnd
            writer.bytes(2, child.bytes)
            writer.bytesAlways(6, value)
            writer.message(10) { parent.write(to: &$0) }
        case .closeChild(let workflowID, let parent, let policy):
            number = .closeChild
            writer.write(RunAddress(workflowID: workflowID, runID: parent))
            writer.varint(3, UInt64(policy.rawValue))
        }
        return Operation(type: number.rawValue, version: Self.version, body: writer.bytes)
    }

    /// - Returns: nil if it is another operation of a workflow group.
    /// - Throws: as `WorkflowOperation.init`.
    init?(_ operation: Operation) throws(ApplyError) {
        guard let number = Number(rawValue: operation.type) else { return nil }
        guard operation.version == Self.version else {
            throw ApplyError(
                .unknownVersion, "version \(operation.version) of '\(number)' is unknown; upgrade this node")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            self = try Self.read(number, from: &reader)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    /// A field means the same in all of them.
    private static func read(_ number: Number, from reader: inout ProtobufReader) throws(WireError) -> TieOperation {
        var (workflowID, name, occurrence, post) = ("", "", UInt64(0), UInt64(0))
        var runID: RunID?
        var (policy, content): (ParentClosePolicy?, RunTies.Post?) = (nil, nil)
        var (value, isFailure): ([UInt8]?, Bool) = (nil, false)
        var parent: RunTies.Parent?
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3: policy = try ParentClosePolicy(reading: &reader)
            case 4:
                var inner = try reader.message()
                var parts = PostParts()
                while let field = try inner.next() { try parts.read(field, from: &inner) }
                content = try parts.post(at: 0)
            case 5: post = try reader.varint()
            case 6: value = try reader.bytes()
            case 7: isFailure = try reader.bool()
            case 8: name = try reader.string()
            case 9: occurrence = try reader.varint()
            case 10:
                var inner = try reader.message()
                parent = try RunTies.Parent(from: &inner)
            default: throw reader.unknownField(in: "\(number)")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
        let run = RunAddress(workflowID: workflowID, runID: runID)
        switch number {
        case .post:
            guard let content else { throw WireError(.invalidValue, "a post without its content") }
            return .post(run, content, policy)
        case .settle: return .settle(run, number: post, value, isFailure: isFailure)
        case .takeEnd: return .takeEnd(run, child: StepKey(name, occurrence))
        case .reportEnd:
            guard let parent else { throw WireError(.invalidValue, "the end of a child without its parent") }
            return .reportEnd(parent, child: runID, value ?? [])
        case .closeChild:
            guard let policy else { throw WireError(.invalidValue, "a parent's end without its policy") }
            return .closeChild(workflowID: workflowID, parent: runID, policy)
        }
    }
}
