import Flotilla
import FlotillaIO

/// What the bodies of steps did in the world outside the cluster, and what that world was told had been recorded.
final class StepLog: Sendable {
    struct Effect: Hashable, Sendable {
        var key: String
        var token: UInt64
    }
    private struct State {
        /// By step, in the order of time.
        var effects: [String: [Effect]] = [:]
        /// Steps that somebody has seen recorded, and how often their bodies had run by then.
        var recorded: [String: Int] = [:]
    }
    private let state = Lock(State())

    func add(_ step: String, _ context: StepContext) {
        let effect = Effect(key: context.idempotencyKey, token: context.fencingToken)
        state.withLock { $0.effects[step, default: []].append(effect) }
    }

    /// From here on the body of this step must not run any more.
    func sawRecorded(_ step: String) {
        state.withLock { state in
            let count = Self.notFenced(state.effects[step] ?? []).count
            state.recorded[step] = state.recorded[step] ?? count
        }
    }

    func hasRun(_ step: String) -> Bool { state.withLock { $0.effects[step] != nil } }

    func check() throws(ScenarioFailure) {
        let state = state.withLock { $0 }
        for (step, effects) in state.effects.sorted(by: { $0.key < $1.key }) {
            guard Set(effects.map(\.key)).count == 1 else {
                throw ScenarioFailure("step \(step) had several idempotency keys: \(Set(effects.map(\.key)).sorted())")
            }
            let tokens = effects.map(\.token)
            guard Set(tokens).count == tokens.count else {
                throw ScenarioFailure("step \(step) ran twice under one fencing token: \(tokens)")
            }
            if let count = state.recorded[step], Self.notFenced(effects).count != count {
                throw ScenarioFailure("step \(step) ran again after it was recorded, under the tokens \(tokens)")
            }
        }
    }

    /// An owner that was cut off goes on until it hears that it lost its place. The world outside knows it by its
    /// token, which is below one that was seen before.
    private static func notFenced(_ effects: [Effect]) -> [Effect] {
        var highest: UInt64 = 0
        return effects.filter { effect in
            defer { highest = max(highest, effect.token) }
            return effect.token > highest
        }
    }
}
