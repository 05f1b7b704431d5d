import FlotillaActors
import FlotillaIO

/// Something that a run waits for. It follows from what is recorded, so every node tells the same.
public struct WorkflowWait: Hashable, Codable, Sendable {
    /// What kind of thing it waits for.
    public enum Reason: String, Codable, Sendable {
        /// A step has failed, and is tried again at `until`, or just now.
        case retry
        /// The time that a sleep has to last, until `until`.
        case sleep
        /// A message of the name, which has not come.
        case signal
        /// An update of the name, which has not come.
        case update
        /// An outside system that has not completed it.
        case awakeable
        /// The body's own state, which does not fulfil the condition of the name yet.
        case condition
        /// A child that has not ended, by its workflow id.
        case child
        /// What it told another run, by its workflow id, has not arrived.
        case delivery
        /// Somebody has paused it.
        case paused
        /// No live node has its type and version.
        case noNode
    }

    /// What kind of thing it waits for.
    public var reason: Reason
    /// The step's, the sleep's, and so on; of a paused run why it is, of one without a node its type.
    public var name: String
    /// Counts the uses of the name, from 0.
    public var occurrence: UInt64 = 0
    /// When it began; nil where that is not recorded.
    public var since: Int64?
    /// When it is over by itself; nil where it is not.
    public var until: Int64?
    /// Of a step: how many attempts have failed.
    public var attempts: Int?
    /// Of a step: how the last attempt failed.
    public var failure: WorkflowFailure?

    init(_ reason: Reason, _ name: String, _ occurrence: UInt64 = 0, since: Int64? = nil, until: Int64? = nil) {
        self.reason = reason
        self.name = name
        self.occurrence = occurrence
        self.since = since
        self.until = until
    }
}

extension WorkflowWait: CustomStringConvertible {
    public var description: String {
        let limit = until.map { ", until \(WallTime(nanoseconds: $0).rfc3339) at most" } ?? ""
        switch reason {
        case .retry:
            let next = until.map { ", is tried again at \(WallTime(nanoseconds: $0).rfc3339)" } ?? ""
            return "step '\(name)' has failed \(attempts ?? 0) times\(next): \(failure?.description ?? "")"
        case .sleep: return "sleeps until \(WallTime(nanoseconds: until ?? 0).rfc3339) ('\(name)')"
        case .signal: return "waits for signal '\(name)'\(limit)"
        case .update: return "waits for update '\(name)'\(limit)"
        case .awakeable: return "waits for awakeable '\(name)' to be completed\(limit)"
        case .condition: return "waits for condition '\(name)'\(limit)"
        case .child: return "has child '\(name)', which has not ended"
        case .delivery: return "what it told '\(name)' has not arrived there"
        case .paused: return "is paused" + (name.isEmpty ? "" : ": \(name)")
        case .noNode: return "no live node has \(name); start a node that registers it"
        }
    }
}

extension Run {
    /// What it waits for, what concerns the whole run first; empty for one that has ended, and for one that computes.
    ///
    /// A wait that a branch of the body has given up, because its task was cancelled, stands there until the run ends.
    var waits: [WorkflowWait] {
        guard !status.isFinished else { return [] }
        var waits: [WorkflowWait] = []
        if status == .paused {
            waits.append(WorkflowWait(.paused, intervention?.reason ?? "", since: intervention?.requestedAt))
        }
        if status == .parked { waits.append(WorkflowWait(.noNode, "\(type)")) }
        for (key, attempts) in attempts.sorted() {
            guard let nextAt = attempts.nextAt else { continue }
            var wait = WorkflowWait(
                .retry, key.name.text, key.occurrence, since: attempts.failedAt, until: nextAt)
            wait.attempts = Int(attempts.effort.attempt)
            wait.failure = attempts.failure
            waits.append(wait)
        }
        for (key, timer) in timers.sorted() where !timer.hasFired {
            waits.append(
                WorkflowWait(.sleep, key.name.text, key.occurrence, since: timer.startedAt, until: timer.deadline))
        }
        for (key, ask) in messages?.asks.sorted() ?? [] where ask.outcome == nil {
            if let wait = wait(for: key, ask) { waits.append(wait) }
        }
        for (_, child) in ties?.children.sorted() ?? [] where child.end == nil {
            waits.append(WorkflowWait(.child, child.workflowID, since: child.startedAt))
        }
        for (_, post) in ties?.posts.elements ?? [] where post.step != nil {
            waits.append(WorkflowWait(.delivery, post.workflowID, since: post.createdAt))
        }
        return waits
    }

    private func wait(for key: StepKey, _ ask: RunMessages.Ask) -> WorkflowWait? {
        if let box = Mailbox(key.name) {
            let reason: WorkflowWait.Reason =
                switch box.kind {
                case .signal: .signal
                case .update: .update
                case .awakeable: .awakeable
                }
            return WorkflowWait(reason, box.name, key.occurrence, since: ask.recordedAt, until: ask.deadline)
        }
        guard let condition = ConditionKey(ask: key), steps[condition.step] == nil else { return nil }
        return WorkflowWait(
            .condition, condition.name, key.occurrence, since: ask.recordedAt, until: ask.deadline)
    }
}

/// How a condition is recorded: its wait beside the asks for messages, its value like a step's.
struct ConditionKey {
    var name: String
    var occurrence: UInt64

    private static let prefix = "condition/"

    init(_ name: String, _ occurrence: UInt64) { (self.name, self.occurrence) = (name, occurrence) }

    /// - Returns: nil unless it is a condition's.
    init?(ask: StepKey) {
        guard ask.name.text.hasPrefix(Self.prefix) else { return nil }
        self.init(String(ask.name.text.dropFirst(Self.prefix.count)), ask.occurrence)
    }

    var ask: StepKey { StepKey(Self.prefix + name, occurrence) }
    var step: StepKey { StepKey("$" + Self.prefix + name, occurrence) }
}
