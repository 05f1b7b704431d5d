import FlotillaIO

/// A value of a running body that several of its branches and the answers to queries share. It is not recorded: the
/// body makes it anew when it is replayed. Its changes are what conditions wait for.
public final class RunVariable<Value: Sendable>: Sendable {
    private let state: Lock<Value>
    private let watchers: VariableWatchers

    init(_ value: Value, _ watchers: VariableWatchers) {
        state = Lock(value)
        self.watchers = watchers
    }

    /// The value as it is now, from any thread.
    public var value: Value { state.withLock { $0 } }

    /// Changes the value. Conditions are looked at before it returns; `body` must be short and not touch variables.
    @discardableResult
    public func update<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        defer { watchers.tell() }
        return try state.withLock { try body(&$0) }
    }

    /// Puts another value in place. Conditions are looked at before it returns.
    public func set(_ value: Value) { update { $0 = value } }
}

/// Those who look again when a variable of a run changes.
final class VariableWatchers: Sendable {
    private let state = Lock(Registrations<@Sendable () -> Void>())

    func add(_ bell: Promise<Void>, _ look: @escaping @Sendable () -> Void) {
        state.withLock { $0.add(look, of: bell) }
    }

    func remove(_ bell: Promise<Void>) { state.withLock { $0.remove(bell) } }

    /// On the caller's thread; the looks may read variables.
    func tell() {
        for look in state.withLock({ $0.values }) { look() }
    }
}

extension WorkflowContext {
    /// A value that branches of the body share, that conditions wait for, and that answers to queries may tell.
    public func variable<Value: Sendable>(_ value: Value) -> RunVariable<Value> {
        RunVariable(value, execution.watchers)
    }

    /// Waits until `predicate` returns a value, which is recorded: the next owner's body gets the same one at once. It
    /// is looked at now, and with every change of a variable of this run.
    ///
    /// The value is all that a body should go by behind the condition: variables may have moved on.
    /// - Parameters:
    ///   - name: conditions that are waited for at the same time need different ones.
    ///   - predicate: short, and a function of the run's variables alone.
    /// - Throws: `WorkflowError` with `duplicateStep` or `resultTooLarge`, and once with `cancelled`;
    ///   `CancellationError`.
    public func condition<Value: Codable & Sendable>(
        _ name: String, _ predicate: @escaping @Sendable () -> Value?
    ) async throws -> Value {
        guard let value = try await execution.condition(name, within: nil, predicate) else {
            preconditionFailure("condition '\(name)' without a limit came to its limit")
        }
        return value
    }

    /// The same within a time, which goes on across changes of the owner.
    /// - Returns: nil when it is over, which is recorded as well.
    public func condition<Value: Codable & Sendable>(
        _ name: String, within limit: Duration, _ predicate: @escaping @Sendable () -> Value?
    ) async throws -> Value? {
        try await execution.condition(name, within: limit, predicate)
    }

    /// Waits until `predicate` holds.
    public func condition(_ name: String, _ predicate: @escaping @Sendable () -> Bool) async throws {
        _ = try await execution.condition(name, within: nil) { predicate() ? true : nil }
    }

    /// The same within a time.
    /// - Returns: whether it held before the time was over.
    public func condition(
        _ name: String, within limit: Duration, _ predicate: @escaping @Sendable () -> Bool
    ) async throws -> Bool {
        try await execution.condition(name, within: limit) { predicate() ? true : nil } ?? false
    }
}
