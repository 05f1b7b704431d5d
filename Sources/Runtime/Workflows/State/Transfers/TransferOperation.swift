import FlotillaActors
import FlotillaRaft

/// What a workflow group does about runs that move, homes of workflow ids and its own end; see workflow.proto. Their
/// numbers begin at 32.
enum TransferOperation: Hashable, Sendable {
    /// The group takes nothing any more. Refused unless it is empty.
    case seal(epoch: UInt64)
    /// Freezes a run that is to move. The answer has the transfer's number.
    case exportRun(RunAddress, to: GroupID)
    case importRun(ImportPart)
    case completeExport(Completion)
    /// The home of a frozen run's id has heard of the run.
    case listExport(Transfers.ID)
    /// Tells the home of an id where its run is.
    /// - isFirst: the home need not know of the run; else it has forgotten it if it does not.
    case setAddress(workflowID: String, Transfers.Address, isFirst: Bool)
    /// Tells the home of an id that its run was removed.
    case clearAddress(workflowID: String, RunID)
    /// Takes an id at its home for a run that is to begin elsewhere.
    case reserveRun(Reservation)
    case openSlots([Int], epoch: UInt64)
    /// - instead: slots that are closed for this home, which was sealed before it opened them, go to `home` too.
    case closeSlots([Int], epoch: UInt64, home: GroupID, instead: GroupID?)
    /// What the old home of slots knows of their ids, told to the new one before it opens them.
    case handOver(epoch: UInt64, [HandoverEntry])
    case releaseSlots([Int], epoch: UInt64)
    /// The home of a removed run's id has forgotten it.
    case confirmRelease(workflowID: String, RunID)

    /// A piece of a `TransferredRun` as bytes.
    struct ImportPart: Hashable, Sendable {
        var source: GroupID
        /// Counts the source's transfers to this group, from 1; they come in their order.
        var number: UInt64
        /// The source has heard what became of all transfers below.
        var acknowledgedBelow: UInt64
        /// Where the piece begins; one at 0 begins anew.
        var offset: UInt64
        /// Of the whole, as `CRC32C`.
        var checksum: UInt32
        var isLast: Bool
        var bytes: [UInt8]
    }

    /// What became of a transfer.
    struct Completion: Hashable, Sendable {
        var target: GroupID
        var number: UInt64
        var isAccepted: Bool
        /// The home of the id has heard where the run is. Needless where this group is the home.
        var isKnownAtHome = false
    }

    struct Reservation: Hashable, Sendable {
        var workflowID: String
        var runID: RunID
        /// Where the run is to begin.
        var group: GroupID
        var replacing: Replaced?

        /// A run that cannot begin any more where the id was reserved for it.
        struct Replaced: Hashable, Sendable {
            var runID: RunID
            var group: GroupID
            /// The group was destroyed: also a run that did begin is no more.
            var isLost = false
        }
    }

    struct HandoverEntry: Hashable, Sendable {
        var key: RunKey
        var address: Transfers.Address
    }

    /// As `WorkflowOperation.workflowID`.
    var workflowID: String? {
        switch self {
        case .seal, .completeExport, .listExport, .importRun, .openSlots, .closeSlots, .handOver, .releaseSlots: nil
        case .exportRun(let address, _): address.workflowID
        case .reserveRun(let reservation): reservation.workflowID
        case .setAddress(let workflowID, _, _), .clearAddress(let workflowID, _), .confirmRelease(let workflowID, _):
            workflowID
        }
    }

    /// Needs all runs, or a whole transfer, so that it is not tried on an excerpt of the state: it stands alone in its
    /// command.
    var standsAlone: Bool {
        switch self {
        case .seal, .importRun, .handOver: true
        case .exportRun, .completeExport, .listExport, .setAddress, .clearAddress, .reserveRun, .openSlots, .closeSlots,
            .releaseSlots, .confirmRelease:
            false
        }
    }
}
