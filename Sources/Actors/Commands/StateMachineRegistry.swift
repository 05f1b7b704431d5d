public import FlotillaRaft

/// Which state machine a group of each kind runs. A group of a kind that is not here is not hosted.
public struct StateMachineRegistry: Sendable {
    private var factories: [GroupKind: @Sendable (GroupID) -> sending any StateMachine] = [:]

    public init() {}

    public mutating func register(
        _ kind: GroupKind, _ make: @escaping @Sendable (GroupID) -> sending any StateMachine
    ) {
        precondition(factories[kind] == nil, "the state machine of \(kind) groups is registered already")
        factories[kind] = make
    }

    public var kinds: [GroupKind] { factories.keys.sorted { $0.rawValue < $1.rawValue } }

    func knows(_ kind: GroupKind) -> Bool { factories[kind] != nil }

    func make(_ kind: GroupKind, for group: GroupID) -> sending (any StateMachine)? { factories[kind]?(group) }
}
