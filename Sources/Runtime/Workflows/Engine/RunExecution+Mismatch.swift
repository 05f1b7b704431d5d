import FlotillaActors
import FlotillaIO

// Code that does not fit what is recorded. Steps that were added, removed or moved are none of that: they have names. A
// recorded value that is not of the type that the code asks for is.

extension RunExecution {
    /// A value that is recorded under a name, as the type that the code asks for under that name. Where it is none, the
    /// run stops here, and is paused: code that fits can go on with it, and nothing is lost.
    func recordedValue<Value: Decodable>(
        _ bytes: [UInt8], of use: @autoclosure () -> ReplayNotes.Use, _ what: @autoclosure () -> String
    ) throws -> Value {
        do {
            return try decode(bytes, what())
        } catch let error as WorkflowError where error.code == .undecodableResult && replay == nil {
            throw stopForMismatch(error, at: use())
        }
    }

    /// - Parameter use: nil where the run's input is meant.
    func stopForMismatch(_ error: WorkflowError, at use: ReplayNotes.Use?) -> CancellationError {
        let text = mismatchText(error, at: use)
        progress.withLock { $0.mismatch = $0.mismatch ?? text }
        return halt(.mismatch)
    }

    /// What kept the body from going on; nil where nothing did.
    var mismatch: String? { progress.withLock { $0.mismatch } }

    /// The body has come to nothing of what is recorded.
    var hasMetNothing: Bool { recordedCount > 0 && progress.withLock { $0.metCount == 0 } }

    /// Why the run is paused. Any node tells it, in a list of paused runs too.
    func pauseForMismatch() async {
        guard let mismatch else { return }
        environment.logger.log(.error, "run \(key) stops: \(mismatch)", metadata)
        let pause = WorkflowOperation.controlRun(
            workflowID: key.workflowID.text, .pause, reason: mismatch)
        do {
            _ = try await environment.proposeUntilAnswered(pause, ownerEpoch: epoch)
        } catch {
            // It has another owner, or will have one, who meets the same or has other code.
            environment.logger.log(.info, "run \(key) was not paused: \(error)", metadata)
        }
    }

    // MARK: The difference

    /// Lines of each kind that are shown.
    private static let linesMax = 16

    private func mismatchText(_ error: WorkflowError, at use: ReplayNotes.Use?) -> String {
        var lines = use.map { ["! \($0.kind) \($0.key)"] } ?? []
        lines += Self.list(unmet.map { "- \($0.kind) \($0.key)" })
        lines += Self.list(unrecorded.map { "+ \($0.kind) \($0.key)" })
        let difference = lines.isEmpty ? "" : "\n" + lines.joined(separator: "\n")
        let text =
            "this code of \(recorded.type) does not fit what the run recorded: \(error.message); deploy code that does, "
            + "then resume the run (! recorded as something else, - recorded and not asked for so far, + asked for and "
            + "not recorded before)"
        return text.cut(Self.textMax) + difference.cut(WorkflowLimits.reasonBytesMax - Self.textMax - 64)
    }

    private static let textMax = 2_048

    private static func list(_ lines: [String]) -> [String] {
        guard lines.count > linesMax else { return lines }
        return lines.prefix(linesMax) + ["  and \(lines.count - linesMax) more"]
    }

    /// What the run recorded before this life of its body, and the body has not asked for, in the order of time.
    private var unmet: [ReplayNotes.Use] {
        let (steps, timers, checkpoints) = progress.withLock { ($0.steps, $0.timers, $0.checkpoints) }
        var found: [(time: Int64, use: ReplayNotes.Use)] = []
        func look(_ kind: EventPosition.Kind, _ key: StepKey, _ time: Int64, _ asked: [ByteText: UInt64]) {
            guard !key.name.text.hasPrefix("$"), key.occurrence >= asked[key.name] ?? 0 else { return }
            found.append((time, ReplayNotes.Use(kind: kind, key: key)))
        }
        recorded.steps.visit { look(.step, $0, $1.recordedAt, steps) }
        recorded.archives?.visit { name, archive in
            guard archive.end > 0 else { return }
            // The last one of many stands for them.
            look(.step, StepKey(name.text, archive.end - 1), archive.lastAt, steps)
        }
        recorded.attempts.visit { if $1.nextAt == nil { look(.step, $0, $1.failedAt, steps) } }
        recorded.timers.visit { look(.sleep, $0, $1.startedAt, timers) }
        recorded.checkpoints.visit { name, latest in
            look(.checkpoint, StepKey(name.text, latest.count - 1), latest.recordedAt, checkpoints)
        }
        return found.sorted { ($0.time, $0.use.key) < ($1.time, $1.use.key) }.map(\.use)
    }

    /// What the body asked for and the run had not recorded before this life of it: the last time of each name.
    private var unrecorded: [ReplayNotes.Use] {
        let (steps, timers, checkpoints) = progress.withLock { ($0.steps, $0.timers, $0.checkpoints) }
        func uses(
            _ kind: EventPosition.Kind, _ asked: [ByteText: UInt64], _ isRecorded: (StepKey) -> Bool
        ) -> [ReplayNotes.Use] {
            asked.sorted { $0.key < $1.key }.compactMap { name, count in
                let last = StepKey(name.text, count - 1)
                guard !name.text.hasPrefix("$"), !isRecorded(last) else { return nil }
                return ReplayNotes.Use(kind: kind, key: last)
            }
        }
        return uses(.step, steps) {
            recorded.steps[$0] != nil || recorded.isArchived($0) || recorded.attempts[$0] != nil
        }
            + uses(.sleep, timers) { recorded.timers[$0] != nil }
            + uses(.checkpoint, checkpoints) { $0.occurrence < recorded.checkpoints[$0.name]?.count ?? 0 }
    }
}
