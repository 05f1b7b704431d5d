public import FlotillaActors
public import FlotillaIO
public import FlotillaRaft

/// How a node is reached, where it keeps its data, and which cluster it belongs to.
public struct NodeConfiguration: Sendable {
    /// Where a node keeps its log.
    public enum DataLocation: Hashable, Sendable {
        /// A directory of its own, created if missing. No other process may use it meanwhile.
        case directory(String)
        /// Nothing is written down: what this node held is lost when it ends, and it cannot come back under its id.
        case memory
        /// `./flotilla_data/{node id}/`.
        case standard
    }

    /// The node's id, unique in the cluster and never given to another machine's data.
    public var id: NodeID
    /// Where peers connect, "host:port". Port 0 takes a free one.
    public var listen: String
    /// What peers are told to connect to, where that differs from `listen`.
    public var advertise: String?
    /// Where the HTTP interface listens; nil for none.
    public var http: String?
    /// Where `FlotillaClient`s connect, "host:port"; nil for nowhere.
    public var clients: String?
    /// Where the log is kept.
    public var data: DataLocation
    /// How a directory keeps the log; nil takes the format that is there, and `.log` where there is none.
    public var storage: StorageFormat?
    /// In bytes. A log keeps longer commands, such as a large result of a step, in files of their own, so that it stays
    /// dense. It may change from one start to the next. RocksDB deals with them by itself.
    public var payloadFileLimit = DiskLogStore.defaultPayloadFileLimit
    /// Nodes to ask for membership, "host:port" each. Empty: this node founds a cluster of its own. Neither matters
    /// where the data already belongs to a cluster.
    public var join: [String]
    /// Founds a cluster. With nodes in `join` as well, it is refused if one of them belongs to a cluster already.
    public var founds: Bool
    /// What its operator says of this node, such as zone = b: clusters are spread over zones, and a policy may choose
    /// the voters of the management group by a label. It may change from one start to the next.
    public var labels: [String: String] = [:]
    /// Its role in the management group; nil leaves it to the policy. A node that asks to be a learner does not vote, and
    /// one that asks to vote does before others: as soon as it has caught up, within the number of voters that the policy
    /// wants, and so that their number stays odd. It may change from one start to the next.
    public var managementRole: NodeRole?
    /// The policy that a founder brings with it; nil for the default. It counts once, when the fleet is founded: from then
    /// on `Node.setPolicy` changes it.
    public var executionClusterPolicy: ExecutionClusterPolicy?
    /// Listening beyond loopback is refused without it: connections are neither encrypted nor authenticated yet.
    public var allowsInsecureListening = false
    /// A node that was silent for this long loses the workflows that it runs to others.
    public var executorFailureTimeout: Duration = .seconds(1)
    /// How long a stopping node tries to hand over leadership and workflows before it ends all the same.
    public var handoverTimeLimit: Duration = .seconds(3)
    /// Sizes and times of workflows, such as the largest result (4 MiB).
    public var limits = WorkflowLimits()
    /// How much this node takes on before it refuses starts and messages.
    public var admission = AdmissionLimits()
    /// What inputs, results and messages are written by: JSON as it is, or compressed, or encrypted. All nodes need the
    /// same keys. It may change from one start to the next; see `PayloadCoding`.
    public var codec = PayloadCoding.json
    /// Where steps keep what is too large for a record (`StepContext.store`); nil for nowhere. All nodes reach the same one.
    public var payloadStore: (any PayloadStore)?
    /// How long, and how many, runs are kept after their end.
    public var retention = WorkflowRetention()
    /// How the groups of this node behave, such as how long they wait for a leader.
    public var groups = GroupSettings()
    /// Takes the node's log lines, from any thread.
    public var logger: FlotillaLogger
    /// Takes the spans of workflows that are traced; nil for none.
    public var spans: (any SpanSink)?

    /// - Parameters:
    ///   - id: 1 by default, which suits a cluster of one.
    ///   - listen: "host:port".
    ///   - data: `./flotilla_data/{id}/` by default.
    ///   - join: nodes to ask for membership; empty founds a cluster.
    public init(
        id: UInt64 = 1, listen: String, http: String? = nil, data: DataLocation = .standard, join: [String] = [],
        logger: FlotillaLogger = .silent
    ) {
        self.id = NodeID(id)
        self.listen = listen
        self.http = http
        self.data = data
        self.join = join
        founds = join.isEmpty
        self.logger = logger
    }

    /// The directory in use; nil in memory.
    public var dataDirectory: String? {
        switch data {
        case .directory(let path): path
        case .memory: nil
        case .standard: "./flotilla_data/\(id.rawValue)"
        }
    }

    var payloads: PayloadCoding {
        var payloads = codec
        payloads.store = payloadStore
        return payloads
    }

    var nodeLabels: [NodeLabel] { labels.map { NodeLabel($0.key, $0.value) }.sorted() }

    func validate() throws {
        guard id.rawValue > 0 else {
            throw NodeError(.invalidConfiguration, "the node id is 0; choose a number from 1 on")
        }
        guard payloadFileLimit >= 0 else {
            throw NodeError(.invalidConfiguration, "the limit for payloads in the log is \(payloadFileLimit) bytes")
        }
        if let problem = executionClusterPolicy?.problem {
            throw NodeError(.invalidConfiguration, "the policy cannot be used: \(problem)")
        }
        guard executionClusterPolicy == nil || founds else {
            throw NodeError(
                .invalidConfiguration,
                "a node that joins brings no policy: the founder does, and flotilla policy set changes it")
        }
        if let problem = codec.problem {
            throw NodeError(.invalidConfiguration, "the codec of payloads cannot be used: \(problem)")
        }
        if let problem = admission.problem { throw NodeError(.invalidConfiguration, problem) }
        for (key, value) in labels where !(1...128).contains(key.utf8.count) || value.utf8.count > 256 {
            throw NodeError(
                .invalidConfiguration,
                "label '\(key)' = '\(value)': a key has 1 to 128 bytes and a value 256 at most")
        }
        for (name, bytes) in [("resultBytesMax", limits.resultBytesMax), ("inputBytesMax", limits.inputBytesMax)] {
            guard (1...WorkflowLimits.payloadBytesMax).contains(bytes) else {
                throw NodeError(
                    .invalidConfiguration,
                    "limits.\(name) is \(bytes); choose a number from 1 to \(WorkflowLimits.payloadBytesMax)")
            }
        }
        guard limits.replayedBodiesMax > 0 else {
            throw NodeError(
                .invalidConfiguration,
                "limits.replayedBodiesMax is \(limits.replayedBodiesMax); choose a number from 1 on")
        }
        for address in [listen, http, clients].compactMap({ $0 }) where !allowsInsecureListening {
            guard Self.isLoopback(address) else {
                throw NodeError(
                    .invalidConfiguration,
                    "\(address) can be reached from other machines, and connections are neither encrypted nor "
                        + "authenticated yet: listen on 127.0.0.1, or say --insecure (allowsInsecureListening)")
            }
        }
    }

    private static func isLoopback(_ address: String) -> Bool {
        guard let colon = address.lastIndex(of: ":") else { return true }
        let host = address[..<colon]
        return host.hasPrefix("127.") || host == "localhost" || host == "[::1]" || host.hasPrefix("sim-")
    }
}

/// Why a node cannot start or go on.
public struct NodeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: String, Sendable {
        /// The configuration contradicts itself, or the machine.
        case invalidConfiguration
        /// The data directory cannot be used.
        case dataUnusable
        /// No seed answered, or the cluster refused this node.
        case joinRefused
        /// An address cannot be listened on, such as one that is in use.
        case listenFailed
        /// `Node.run` was called before; a node runs once.
        case alreadyRunning
        /// The fleet has no node of that id.
        case unknownNode
        /// This node has no replica of the group.
        case unknownGroup
        /// There is no cluster of that id, or several whose ids begin so.
        case unknownCluster
        /// Management does not take what was asked; nothing changed.
        case refused
        /// The node has stopped, or stops.
        case stopped
    }
    /// For programs.
    public var code: Code
    /// For people: what was wrong, and what to do.
    public var message: String
    /// An error with words for people.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { message }
}
