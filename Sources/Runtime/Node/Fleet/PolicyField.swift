import FlotillaRaft

/// One field of `ExecutionClusterPolicy` as operators write it: a member in JSON, an option of commands.
struct PolicyField: Sendable {
    /// In JSON.
    let name: String
    /// Of commands, without the dashes.
    let option: String
    let placeholder: String
    let help: String
    let value: @Sendable (ExecutionClusterPolicy) -> JSONValue
    /// - Returns: false where the value is of another kind.
    let set: @Sendable (JSONValue, inout ExecutionClusterPolicy) -> Bool
    /// What an option's text says in JSON.
    var parse: @Sendable (String) -> JSONValue = { .string($0) }

    /// - Throws: the field whose value does not fit, and what would.
    static func apply(
        _ members: [String: JSONValue], to policy: inout ExecutionClusterPolicy
    ) throws(PolicyFieldError) {
        for field in all {
            guard let value = members[field.name] else { continue }
            guard field.set(value, &policy) else {
                throw PolicyFieldError(
                    field: field, message: "\(value.cell.isEmpty ? "null" : value.cell) is not \(field.placeholder)")
            }
        }
    }

    static func value(of policy: ExecutionClusterPolicy) -> JSONValue {
        .object(Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0.value(policy)) }))
    }

    static let all: [PolicyField] = [
        count(
            "maximumWorkflowsPerCluster", "max-workflows", "a cluster with so many takes no more",
            \.maximumWorkflowsPerCluster),
        count("targetClusterSize", "cluster-size", "members that a cluster should have", \.targetClusterSize),
        PolicyField(
            name: "strategy", option: "strategy", placeholder: Strategy.allCases.map(\.name).joined(separator: "|"),
            help: "which cluster with room a new run goes to",
            value: { .string($0.strategy.name) },
            set: { value, policy in
                guard let strategy = Strategy.allCases.first(where: { $0.name == value.text }) else { return false }
                policy.strategy = strategy
                return true
            }),
        share(
            "rebalanceThreshold", "rebalance-threshold",
            "by how much the busiest node may exceed the mean before runs move", \.rebalanceThreshold),
        share("loadLimit", "load-limit", "a fleet that is busier is not rebalanced", \.loadLimit),
        duration(
            "rebalancePeriod", "rebalance-period", "how often loads are looked at; other news are acted on at once",
            \.rebalancePeriod),
        duration("idleTimeToLive", "idle-ttl", "how long a cluster without runs is kept", \.idleTimeToLive),
        count("readyClusters", "ready-clusters", "clusters without runs that are kept ready", \.readyClusters),
        count(
            "singleClusterBelow", "single-below", "a fleet of fewer nodes runs all in one cluster", \.singleClusterBelow
        ),
        duration(
            "memberFailureTimeout", "member-timeout", "a node silent for longer is replaced in its clusters",
            \.memberFailureTimeout),
        duration(
            "voterFailureTimeout", "voter-timeout", "a management voter silent for longer is replaced",
            \.voterFailureTimeout),
        PolicyField(
            name: "targetVoterCount", option: "voters", placeholder: "N|automatic",
            help: "how many nodes vote in the management group, odd; automatic: 3, and 5 from 20 nodes on",
            value: { $0.targetVoterCount.map { .integer(Int64($0)) } ?? .string("automatic") },
            set: { value, policy in
                switch value {
                case .string("automatic"): policy.targetVoterCount = nil
                case .integer(let count): policy.targetVoterCount = Int(clamping: count)
                default: return false
                }
                return true
            }, parse: number),
        PolicyField(
            name: "voterSelection", option: "voter-selection", placeholder: "automatic|N,N,...|KEY=VALUE",
            help: "who may vote there: any node, these nodes, or those with a label",
            value: { .string($0.voterSelection.text) },
            set: { value, policy in
                guard let selection = value.text.flatMap(ExecutionClusterPolicy.VoterSelection.init) else {
                    return false
                }
                policy.voterSelection = selection
                return true
            }),
        PolicyField(
            name: "spreadLabel", option: "spread-label", placeholder: "KEY",
            help: "members are spread over the values of this label",
            value: { .string($0.spreadLabel) },
            set: { value, policy in
                guard let text = value.text else { return false }
                policy.spreadLabel = text
                return true
            }),
        PolicyField(
            name: "pinnedTypes", option: "pinned-types", placeholder: "TYPE,...",
            help: "workflows of these types run in clusters of their own; empty for none",
            value: { .array($0.pinnedTypes.sorted().map(JSONValue.string)) },
            set: { value, policy in
                guard case .array(let elements) = value else { return false }
                let types = elements.compactMap(\.text)
                guard types.count == elements.count else { return false }
                policy.pinnedTypes = Set(types)
                return true
            }, parse: { .array($0.split(separator: ",").map { .string(String($0)) }) }),
    ]

    private typealias Strategy = ExecutionClusterPolicy.SelectionStrategy

    @Sendable private static func number(_ text: String) -> JSONValue {
        Int64(text).map(JSONValue.integer) ?? Double(text).map(JSONValue.number) ?? .string(text)
    }

    private static func count(
        _ name: String, _ option: String, _ help: String,
        _ path: any WritableKeyPath<ExecutionClusterPolicy, Int> & Sendable
    ) -> PolicyField {
        PolicyField(
            name: name, option: option, placeholder: "N", help: help,
            value: { .integer(Int64($0[keyPath: path])) },
            set: { value, policy in
                guard case .integer(let count) = value else { return false }
                policy[keyPath: path] = Int(clamping: count)
                return true
            }, parse: number)
    }

    private static func share(
        _ name: String, _ option: String, _ help: String,
        _ path: any WritableKeyPath<ExecutionClusterPolicy, Double> & Sendable
    ) -> PolicyField {
        PolicyField(
            name: name, option: option, placeholder: "SHARE", help: help + ", such as 0.3",
            value: { JSONValue(floatLiteral: $0[keyPath: path]) },
            set: { value, policy in
                switch value {
                case .integer(let number): policy[keyPath: path] = Double(number)
                case .number(let number): policy[keyPath: path] = number
                default: return false
                }
                return true
            }, parse: number)
    }

    private static func duration(
        _ name: String, _ option: String, _ help: String,
        _ path: any WritableKeyPath<ExecutionClusterPolicy, Duration> & Sendable
    ) -> PolicyField {
        PolicyField(
            name: name, option: option, placeholder: "DURATION", help: help + ", such as 30s or 5m",
            value: { .string(DurationText.text($0[keyPath: path])) },
            set: { value, policy in
                guard let duration = value.text.flatMap({ DurationText.parse($0, limit: DurationText.ageLimit) }) else {
                    return false
                }
                policy[keyPath: path] = duration
                return true
            })
    }
}

struct PolicyFieldError: Error {
    var field: PolicyField
    var message: String
}

extension ExecutionClusterPolicy.SelectionStrategy {
    var name: String {
        switch self {
        case .roundRobin: "roundRobin"
        case .leastLoaded: "leastLoaded"
        case .localityAware: "localityAware"
        case .typeAffinity: "typeAffinity"
        }
    }
}

extension ExecutionClusterPolicy.VoterSelection {
    /// "automatic", "1,2,3" or "key=value".
    var text: String {
        switch self {
        case .automatic: "automatic"
        case .fixed(let nodes): nodes.map { "\($0.rawValue)" }.joined(separator: ",")
        case .labelled(let label): label.description
        }
    }

    init?(_ text: String) {
        if text == "automatic" {
            self = .automatic
        } else if let label = NodeLabel(text) {
            self = .labelled(label)
        } else {
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            let nodes = parts.compactMap { UInt64($0) }.filter { $0 > 0 }
            guard nodes.count == parts.count, Set(nodes).count == nodes.count else { return nil }
            self = .fixed(nodes.map(NodeID.init))
        }
    }
}

extension NodeLabel {
    /// "key=value"; nil where there is no key.
    init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[0].isEmpty else { return nil }
        self.init(parts[0], parts[1])
    }
}
