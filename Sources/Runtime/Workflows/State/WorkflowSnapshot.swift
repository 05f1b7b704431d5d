import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// A frozen state; it shares its pieces with the live one, and leaves out what is computed: a reference to that would
/// make the next command copy it.
struct WorkflowSnapshot: SnapshotView {
    /// 3: runs carry their sequence numbers, steps who recorded them, timers their times.
    static let formatVersion: UInt32 = 3

    private let runs: RunMap
    private let executors: ExecutorTable
    private let knownTypes: Set<WorkflowType>
    private let startCount: UInt64
    private let transfers: Transfers
    private let checkpoints: CheckpointJournal

    init(_ state: WorkflowState, _ checkpoints: CheckpointJournal) {
        self.checkpoints = checkpoints
        runs = state.runs
        executors = state.executors
        knownTypes = state.knownTypes
        startCount = state.startCount
        transfers = state.transfers
    }

    func prepare() throws(LogError) { try checkpoints.sync() }

    /// Everything in a fixed order, so that equal states give equal bytes.
    func serialize() -> [UInt8] {
        var writer = ProtobufWriter()
        for (node, executor) in executors {
            writer.message(1) { writer in
                writer.varint(1, node.rawValue)
                writer.varint(2, executor.boot)
                writer.varint(3, executor.registration)
                writer.bool(4, executor.isAlive)
                for type in executor.capabilities.sorted() {
                    writer.message(5) { type.write(to: &$0) }
                }
            }
        }
        for type in knownTypes.sorted() { writer.message(2) { type.write(to: &$0) } }
        for (key, run) in runs.inStartOrder() {
            writer.message(3) { run.write(key, to: &$0) }
        }
        writer.varint(4, startCount)
        writer.message(5) { transfers.write(to: &$0) }
        return writer.bytes
    }

    static func state(from bytes: [UInt8], formatVersion: UInt32) throws(ApplyError)
        -> WorkflowState
    {
        guard formatVersion == Self.formatVersion else {
            throw ApplyError(
                .unknownFormat,
                "a workflow snapshot of format \(formatVersion); this version reads \(Self.formatVersion)")
        }
        do throws(WireError) {
            return try WorkflowState(from: bytes)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand,
                "workflow snapshot: \(error.message)")
        }
    }
}

extension WorkflowState {
    fileprivate init(from bytes: [UInt8]) throws(WireError) {
        self.init()
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                let (node, executor) = try Executor.read(from: &inner)
                executors[node] = executor
            case 2:
                var inner = try reader.message()
                knownTypes.insert(try WorkflowType(from: &inner))
            case 3:
                var inner = try reader.message()
                let (key, run) = try Run.read(from: &inner)
                guard runs[key] == nil, startOrder[run.sequence] == nil else {
                    throw WireError(.invalidValue, "run \(key) stands there twice")
                }
                restore(run, for: key)
            case 4: startCount = try reader.varint()
            case 5:
                var inner = try reader.message()
                transfers = try Transfers(from: &inner)
            default: throw reader.unknownField(in: "the state")
            }
        }
        guard transfers.frozen.keys.allSatisfy({ runs[$0] == nil }) else {
            throw WireError(.invalidValue, "a run is here, and on its way elsewhere")
        }
        guard startOrder.elements(after: startCount, limit: 1).isEmpty else {
            throw WireError(.invalidValue, "a run has a sequence number above \(startCount)")
        }
        changes.everything = true
    }
}

extension WorkflowState.Executor {
    fileprivate static func read(
        from reader: inout ProtobufReader
    ) throws(WireError) -> (NodeID, WorkflowState.Executor) {
        var node: UInt64 = 0
        var executor = Self(boot: 0, registration: 0, isAlive: false, capabilities: [])
        while let field = try reader.next() {
            switch field {
            case 1: node = try reader.varint()
            case 2: executor.boot = try reader.varint()
            case 3: executor.registration = try reader.varint()
            case 4: executor.isAlive = try reader.bool()
            case 5:
                var inner = try reader.message()
                executor.capabilities.insert(try WorkflowType(from: &inner))
            default: throw reader.unknownField(in: "an executor")
            }
        }
        return (NodeID(node), executor)
    }
}
