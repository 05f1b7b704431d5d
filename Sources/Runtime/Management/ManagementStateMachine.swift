import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What the management group replicates: which nodes there are and what for, where they are reached, which
/// execution clusters are wanted on which nodes, what is said to run where, and what all agreed on. It says what is
/// desired; a group's own configuration says what is.
///
/// Confined to the group's loop.
final class ManagementStateMachine: StateMachine {
    static let formatVersion: UInt32 = 3

    /// A member of the fleet.
    struct Node: Hashable, Sendable {
        var node: NodeID
        var instance: UInt64
        var address: String
        var httpAddress: String
        var featureLevel: UInt32
        /// Group time at which it was registered first, in nanoseconds since 1970.
        var joinedAt: Int64
        /// What it can run, ascending.
        var types: [WorkflowType] = []
        /// What its operator says of it, ascending, one for each key.
        var labels: [NodeLabel] = []
        /// In the management group. A registration does not change it: the first node votes, others begin as learners.
        var role = NodeRole.learner
        /// It is to leave: its places in clusters go to others. A registration does not change it.
        var isDraining = false
        /// What its own configuration asks for; nil leaves it to the policy.
        var wantedRole: NodeRole?
    }

    /// Codes of `Answer`, whose body holds the words. A case keeps its number for ever.
    enum Refusal: UInt32, Sendable {
        case duplicateNode = 1
        case unknownNode = 2
        case featureLevelUnsupported = 3
        case lastNode = 4
        case unknownCluster = 5
        /// The id belongs to another cluster.
        case duplicateCluster = 6
        /// The number of members is not one that the policy allows.
        case invalidSize = 7
        /// Nobody would be left to vote.
        case lastVoter = 8
        /// The cluster takes nothing new.
        case clusterClosed = 9
        /// The cluster's own log does not say that it is empty and stays so.
        case notSealed = 10
        /// The cluster is the home of workflow ids.
        case hasSlots = 11
        /// The change was made for a map that is not the newest.
        case staleSlotMap = 12
        case invalidPolicy = 13
        /// An even number of nodes would vote in the management group, or too few.
        case invalidVoters = 14
        /// The node is about to leave.
        case nodeDraining = 15
        /// A slot that is out of range.
        case invalidSlots = 16
        case unknownGroup = 17
        /// A group may still hold a replica of an earlier node with this id.
        case nodeDeparting = 18
        /// The cluster was founded anew meanwhile.
        case staleIncarnation = 19
    }

    private(set) var state = ManagementState()
    private let agreedLevel: FeatureLevel
    private let didChange: @Sendable (ManagementState, ManagementChange) -> Void
    private var change = ManagementChange()

    /// - Parameter didChange: called on the loop after a batch that changed something.
    init(agreedLevel: FeatureLevel, didChange: @escaping @Sendable (ManagementState, ManagementChange) -> Void) {
        self.agreedLevel = agreedLevel
        self.didChange = didChange
    }

    // MARK: StateMachine

    func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer {
        var operations: [ManagementOperation] = []
        for operation in command.operations { operations.append(try ManagementOperation(operation)) }
        do throws(ManagementRefused) {
            let before = state
            if try state.apply(operations, time: time) { change.note(operations, from: before, to: state) }
        } catch {
            return Answer(code: error.code.rawValue, body: Array(error.message.utf8))
        }
        agreedLevel.raise(to: state.featureLevel)
        return Answer()
    }

    func didApplyBatch() {
        guard !change.isEmpty else { return }
        let change = self.change
        self.change = ManagementChange()
        didChange(state, change)
    }

    func snapshotView() -> any SnapshotView { state }

    static func decode(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) -> ManagementState {
        guard formatVersion == Self.formatVersion else {
            throw ApplyError(.unknownFormat, "management state of format \(formatVersion)")
        }
        do throws(WireError) {
            return try ManagementState(decoding: bytes)
        } catch {
            throw ApplyError(.unknownFormat, error.description)
        }
    }

    func restore(_ restored: ManagementState) {
        state = restored
        agreedLevel.raise(to: state.featureLevel)
        change = .whole
    }
}

/// A refusal with its words: what was wrong, and what to do. A refused command changed nothing.
struct ManagementRefused: Error, Hashable {
    var code: ManagementStateMachine.Refusal
    var message: String
    init(_ code: ManagementStateMachine.Refusal, _ message: String) {
        self.code = code
        self.message = message
    }
}
