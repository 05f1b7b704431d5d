public import FlotillaActors
import FlotillaIO
public import FlotillaRaft

/// What a command of a workflow group may do. Each case has a number and a version on the wire and in the log; see
/// workflow.proto. A change that an older binary would misread takes a new version.
enum WorkflowOperation: Hashable, Sendable {
    case startRun(StartRun)
    /// - keeping: so many occurrences of the step's name stay in the state, up to this one; 0: all.
    case recordStep(RunAddress, StepKey, value: [UInt8], StepEffort = StepEffort(), keeping: UInt64 = 0)
    case recordFailure(RunAddress, StepKey, StepFailure)
    /// How far a step is. Under the run's epoch, as those around it.
    case recordProgress(RunAddress, StepKey, attempt: UInt32, value: [UInt8])
    case startTimer(RunAddress, StepKey, TimerSetting)
    case fireTimer(RunAddress, StepKey)
    case setCheckpoint(RunAddress, StepKey, value: [UInt8])
    case finishRun(RunAddress, RunResult)
    case registerExecutor(node: NodeID, boot: UInt64, capabilities: [WorkflowType])
    case loseExecutor(node: NodeID, registration: UInt64)
    /// Removes a run that has ended, with everything that it recorded.
    case pruneRun(workflowID: String)
    /// Removes runs that have ended and that `keeping` does not keep, the first ended first: `limit` of them at most.
    case pruneFinished(keeping: WorkflowRetention, limit: UInt32)
    case controlRun(workflowID: String, WorkflowAction, reason: String)
    /// A run that moves to another group, and what comes with that.
    case transfer(TransferOperation)
    /// What a run is told, and what comes of it.
    case message(MessageOperation)
    /// A run among others.
    case composition(CompositionOperation)
    /// Runs that are tied to others.
    case tie(TieOperation)
    /// A run that begins with what another one has recorded.
    case fork(ForkRun)

    struct StartRun: Hashable, Sendable {
        var workflowID: String
        var runID: RunID
        var type: WorkflowType
        var input: [UInt8]
        var contentType: String
        var placement = Placement.alone
        /// Refused as `full` where so many runs or more have not ended; 0: however many.
        var admitBelow: UInt64 = 0
        /// Refused as `overLimit` where so many runs, or so many of its type, have not ended; 0: however many.
        var runLimit: UInt64 = 0
        var typeLimit: UInt64 = 0
        var attributes = RunAttributes()
        /// Of a child.
        var parent: RunTies.Parent?
        /// What it was asked for in.
        var trace: TraceContext?

        /// How it is known that no other run has the id.
        enum Placement: Hashable, Sendable {
            /// There are no other groups.
            case alone
            /// The id is taken with this command, by its home.
            case atHome
            /// Its home knows of it.
            /// - epoch: of the slot, as the home said.
            case reserved(epoch: UInt64)
            /// Flotilla made the id, for this group.
            case generated
        }
    }

    enum TimerSetting: Hashable, Sendable {
        /// Nanoseconds from the group's time when the command is applied.
        case after(Int64)
        /// Nanoseconds since 1970.
        case at(Int64)
    }
}

extension WorkflowOperation {
    /// The workflow that the operation is about; nil if it is about an executor.
    var workflowID: String? {
        switch self {
        case .startRun(let start): start.workflowID
        case .recordStep(let run, _, _, _, _), .recordFailure(let run, _, _), .startTimer(let run, _, _),
            .recordProgress(let run, _, _, _), .fireTimer(let run, _),
            .setCheckpoint(let run, _, _), .finishRun(let run, _):
            run.workflowID
        case .pruneRun(let workflowID), .controlRun(let workflowID, _, _): workflowID
        case .transfer(let operation): operation.workflowID
        case .message(let operation): operation.workflowID
        case .composition(let operation): operation.workflowID
        case .tie(let operation): operation.workflowID
        case .fork(let fork): fork.start.workflowID
        case .registerExecutor, .loseExecutor, .pruneFinished: nil
        }
    }
}

/// The run that an operation is about; its namespace is the command's.
struct RunAddress: Hashable, Sendable {
    var workflowID: String
    var runID: RunID
}

/// How a run ended.
enum RunResult: Hashable, Sendable {
    case success([UInt8])
    case failure(WorkflowFailure)
    /// The body ended because it was asked to.
    case cancelled
}

/// The operations that others than the engine propose.
public enum WorkflowOperations {
    /// Takes all runs away from a node that is dead or cut off and gives them to others.
    /// - Parameter registration: the one that was current when the node was found lost, as in
    ///   `WorkflowStateMachine.executors`; after a later registration the operation does nothing.
    public static func loseExecutor(_ node: NodeID, registration: UInt64) -> Operation {
        WorkflowOperation.loseExecutor(node: node, registration: registration).encoded
    }
}

// MARK: Encoding

extension WorkflowOperation {
    private enum Number: UInt32 {
        case startRun = 1
        case recordStep, startTimer, fireTimer, setCheckpoint, finishRun, registerExecutor,
            loseExecutor, pruneRun, pruneFinished, controlRun, recordFailure
        case recordProgress = 80
    }

    /// Whether it is the result of a step, which nobody but the run's owner waits for.
    static func recordsStep(_ operation: Operation) -> Bool { operation.type == Number.recordStep.rawValue }

    /// The only version there is yet.
    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .startRun(let start):
            number = .startRun
            start.write(to: &writer)
        case .recordStep(let run, let key, let value, let effort, let keeping):
            number = .recordStep
            writer.write(run, key)
            writer.bytes(5, value)
            writer.varint(6, UInt64(effort.attempt))
            writer.signed(7, effort.duration)
            writer.varint(8, keeping)
        case .recordFailure(let run, let key, let failed):
            number = .recordFailure
            writer.write(run, key)
            writer.message(5) { failed.failure.write(to: &$0) }
            writer.varint(6, UInt64(failed.effort.attempt))
            writer.signed(7, failed.effort.duration)
            if let delay = failed.delay { writer.varintAlways(8, UInt64(bitPattern: delay)) }
            if let progress = failed.progress { writer.bytesAlways(9, progress) }
        case .recordProgress(let run, let key, let attempt, let value):
            number = .recordProgress
            writer.write(run, key)
            writer.bytes(5, value)
            writer.varint(6, UInt64(attempt))
        case .startTimer(let run, let key, let setting):
            number = .startTimer
            writer.write(run, key)
            switch setting {
            case .after(let duration): writer.varintAlways(5, UInt64(bitPattern: duration))
            case .at(let deadline): writer.varintAlways(6, UInt64(bitPattern: deadline))
            }
        case .fireTimer(let run, let key):
            number = .fireTimer
            writer.write(run, key)
        case .setCheckpoint(let run, let key, let value):
            number = .setCheckpoint
            writer.write(run, key)
            writer.bytes(5, value)
        case .finishRun(let run, let result):
            number = .finishRun
            writer.write(run)
            result.write(to: &writer)
        case .registerExecutor(let node, let boot, let capabilities):
            number = .registerExecutor
            writer.varint(1, node.rawValue)
            writer.varint(2, boot)
            for capability in capabilities { writer.message(3) { capability.write(to: &$0) } }
        case .loseExecutor(let node, let registration):
            number = .loseExecutor
            writer.varint(1, node.rawValue)
            writer.varint(2, registration)
        case .pruneRun(let workflowID):
            number = .pruneRun
            writer.string(1, workflowID)
        case .pruneFinished(let retention, let limit):
            number = .pruneFinished
            if let age = retention.age { writer.varintAlways(1, UInt64(bitPattern: age.clampedNanoseconds)) }
            if let count = retention.count { writer.varintAlways(2, UInt64(count)) }
            writer.varint(3, UInt64(limit))
        case .controlRun(let workflowID, let action, let reason):
            number = .controlRun
            writer.string(1, workflowID)
            writer.varint(2, UInt64(action.rawValue))
            writer.string(3, reason)
        case .transfer(let operation): return operation.encoded
        case .message(let operation): return operation.encoded
        case .composition(let operation): return operation.encoded
        case .tie(let operation): return operation.encoded
        case .fork(let fork): return fork.encoded
        }
        return Operation(type: number.rawValue, version: Self.version, body: writer.bytes)
    }

    /// - Throws: what stops the group on this node: a number, version or field of a newer binary, or damage.
    init(_ operation: Operation) throws(ApplyError) {
        if let transfer = try TransferOperation(operation) {
            self = .transfer(transfer)
            return
        }
        if let message = try MessageOperation(operation) {
            self = .message(message)
            return
        }
        if let composition = try CompositionOperation(operation) {
            self = .composition(composition)
            return
        }
        if let tie = try TieOperation(operation) {
            self = .tie(tie)
            return
        }
        if let fork = try ForkRun(operation) {
            self = .fork(fork)
            return
        }
        guard let number = Number(rawValue: operation.type) else {
            throw ApplyError(
                .unknownCommand,
                "workflow operation \(operation.type) is unknown; upgrade this node")
        }
        guard operation.version == Self.version else {
            throw ApplyError(
                .unknownVersion,
                "version \(operation.version) of '\(number)' is unknown; upgrade this node")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            self = try Self.read(number, from: &reader)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand,
                "operation '\(number)': \(error.message)")
        }
    }

    private static func read(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> WorkflowOperation {
        switch number {
        case .startRun: return .startRun(try StartRun(from: &reader))
        case .registerExecutor: return try readRegistration(from: &reader)
        case .loseExecutor:
            var (node, registration) = (UInt64(0), UInt64(0))
            while let field = try reader.next() {
                switch field {
                case 1: node = try reader.varint()
                case 2: registration = try reader.varint()
                default: throw reader.unknownField(in: "\(number)")
                }
            }
            return .loseExecutor(node: NodeID(node), registration: registration)
        case .pruneRun:
            var workflowID = ""
            while let field = try reader.next() {
                guard field == 1 else { throw reader.unknownField(in: "\(number)") }
                workflowID = try reader.string()
            }
            return .pruneRun(workflowID: workflowID)
        case .pruneFinished: return try readPruning(from: &reader)
        case .controlRun: return try readControl(from: &reader)
        case .recordStep, .recordFailure, .recordProgress, .startTimer, .fireTimer, .setCheckpoint, .finishRun:
            return try readOwnerOperation(number, from: &reader)
        }
    }

    private static func readRegistration(
        from reader: inout ProtobufReader
    ) throws(WireError) -> WorkflowOperation {
        var (node, boot) = (UInt64(0), UInt64(0))
        var capabilities: [WorkflowType] = []
        while let field = try reader.next() {
            switch field {
            case 1: node = try reader.varint()
            case 2: boot = try reader.varint()
            case 3:
                var inner = try reader.message()
                capabilities.append(try WorkflowType(from: &inner))
            default: throw reader.unknownField(in: "registerExecutor")
            }
        }
        return .registerExecutor(node: NodeID(node), boot: boot, capabilities: capabilities)
    }

    private static func readPruning(from reader: inout ProtobufReader) throws(WireError) -> WorkflowOperation {
        var retention = WorkflowRetention.forever
        var limit: UInt32 = 0
        while let field = try reader.next() {
            switch field {
            case 1: retention.age = .nanoseconds(Int64(bitPattern: try reader.varint()))
            case 2: retention.count = Int(clamping: try reader.varint())
            case 3: limit = try reader.uint32()
            default: throw reader.unknownField(in: "pruneFinished")
            }
        }
        return .pruneFinished(keeping: retention, limit: limit)
    }

    private static func readControl(from reader: inout ProtobufReader) throws(WireError) -> WorkflowOperation {
        var (workflowID, reason) = ("", "")
        var action: WorkflowAction?
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: action = UInt8(exactly: try reader.varint()).flatMap(WorkflowAction.init(rawValue:))
            case 3: reason = try reader.string()
            default: throw reader.unknownField(in: "controlRun")
            }
        }
        guard let action else { throw WireError(.invalidValue, "an action on a run that this version does not know") }
        return .controlRun(workflowID: workflowID, action, reason: reason)
    }

    /// The operations under an epoch share their first fields.
    private static func readOwnerOperation(
        _ number: Number, from reader: inout ProtobufReader
    ) throws(WireError) -> WorkflowOperation {
        var (workflowID, name, occurrence) = ("", "", UInt64(0))
        var runID: RunID?
        var value: [UInt8] = []
        var effort = StepEffort(attempt: 0, duration: 0)
        var failure: WorkflowFailure?
        var delay: Int64?
        var progress: [UInt8]?
        var keeping: UInt64 = 0
        var setting: TimerSetting?
        var result: RunResult?
        while let field = try reader.next() {
            switch (field, number) {
            case (1, _): workflowID = try reader.string()
            case (2, _): runID = RunID(bytes: try reader.bytes())
            case (3, .finishRun): result = .success(try reader.bytes())
            case (4, .finishRun):
                var inner = try reader.message()
                result = .failure(try WorkflowFailure(from: &inner))
            case (5, .finishRun): result = try reader.bool() ? .cancelled : nil
            case (3, _): name = try reader.string()
            case (4, _): occurrence = try reader.varint()
            case (5, .recordStep), (5, .setCheckpoint), (5, .recordProgress): value = try reader.bytes()
            case (5, .recordFailure):
                var inner = try reader.message()
                failure = try WorkflowFailure(from: &inner)
            case (8, .recordFailure): delay = Int64(bitPattern: try reader.varint())
            case (8, .recordStep): keeping = try reader.varint()
            case (9, .recordFailure): progress = try reader.bytes()
            case (6, .recordStep), (6, .recordFailure), (6, .recordProgress): effort.attempt = try reader.uint32()
            case (7, .recordStep), (7, .recordFailure): effort.duration = try reader.signed()
            case (5, .startTimer): setting = .after(Int64(bitPattern: try reader.varint()))
            case (6, .startTimer): setting = .at(Int64(bitPattern: try reader.varint()))
            default: throw reader.unknownField(in: "\(number)")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
        let (run, key) = (
            RunAddress(workflowID: workflowID, runID: runID), StepKey(name, occurrence)
        )
        switch number {
        case .recordStep: return .recordStep(run, key, value: value, effort, keeping: keeping)
        case .recordFailure:
            guard let failure else { throw WireError(.invalidValue, "a failed attempt without its failure") }
            return .recordFailure(
                run, key, StepFailure(failure: failure, effort: effort, delay: delay, progress: progress))
        case .recordProgress: return .recordProgress(run, key, attempt: effort.attempt, value: value)
        case .setCheckpoint: return .setCheckpoint(run, key, value: value)
        case .fireTimer: return .fireTimer(run, key)
        case .startTimer:
            guard let setting else { throw WireError(.invalidValue, "a timer without a time") }
            return .startTimer(run, key, setting)
        case .finishRun:
            guard let result else { throw WireError(.invalidValue, "an end without a result") }
            return .finishRun(run, result)
        case .startRun, .registerExecutor, .loseExecutor, .pruneRun, .pruneFinished, .controlRun:
            preconditionFailure("'\(number)' is not an owner's operation")
        }
    }
}
