import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What all engines of a node have in common, once for all of them.
final class EngineContext: Sendable {
    /// One life of this process; higher in each, as in `RequestID.Client`.
    let boot: UInt64
    /// What this node can run.
    let definitions: [WorkflowType: WorkflowDefinition]
    /// The same that the groups' state machines write to.
    let checkpoints: CheckpointJournal
    /// The groups' own.
    let loop: any Loop
    let limits: WorkflowLimits
    /// What payloads are written and read by.
    let codec: PayloadCoding
    /// What clients bring comes through it.
    let gate: AdmissionGate
    let spans: (any SpanSink)?
    /// How runs reach durable objects.
    let objects = ObjectCaller()
    let logger: FlotillaLogger
    /// The source for run ids, `context.random` and `context.uuid`; any thread.
    let random: @Sendable () -> UInt64
    /// The highest version of a type that the fleet has beyond the group; nil where the group knows best.
    let newestVersion: @Sendable (_ type: String) -> UInt32?
    /// The groups whose engines have something to do and no task; see `WorkflowEngine.work()`.
    let calls = GroupAttention()
    let registrations = RegistrationPace()
    /// What the tasks of runs that rest have left: some 20 KiB each.
    let freed = FreedMemory(few: 100, many: 4_096)

    init(
        boot: UInt64, definitions: [WorkflowType: WorkflowDefinition], checkpoints: CheckpointJournal, loop: any Loop,
        limits: WorkflowLimits = WorkflowLimits(), codec: PayloadCoding = .json,
        gate: AdmissionGate = AdmissionGate(), spans: (any SpanSink)? = nil, logger: FlotillaLogger = .silent,
        random: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) },
        newestVersion: @escaping @Sendable (_ type: String) -> UInt32? = { _ in nil }
    ) {
        self.boot = boot
        self.definitions = definitions
        self.checkpoints = checkpoints
        self.loop = loop
        self.limits = limits
        self.codec = codec
        self.gate = gate
        self.spans = spans
        self.logger = logger
        self.random = random
        self.newestVersion = newestVersion
    }
}

extension EngineContext {
    /// Gives a task to each engine that is called, until the task is cancelled.
    /// - Parameter engine: of a group, where there is one.
    func serve(_ engine: @Sendable (GroupID) -> WorkflowEngine?) async {
        await withDiscardingTaskGroup { tasks in
            for await _ in calls.bell.rings {
                for group in calls.take() {
                    guard let engine = engine(group) else { continue }
                    tasks.addTask { await engine.work() }
                }
            }
        }
    }
}
