import FlotillaIO
import FlotillaRaft

/// The connections of one node: one per peer for consensus, whatever the number of groups, and one more while
/// snapshots or large commands move. Says hello, watches who is alive, and hands what arrives to the scheduler. Lives on
/// its loop.
public actor Transport: LoopConfined {
    nonisolated let loop: any Loop
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    nonisolated let network: any Network
    nonisolated let logger: FlotillaLogger
    nonisolated let heartbeatInterval: Duration
    nonisolated let failureTimeout: Duration

    /// What this node says of itself; the cluster is zero until it has joined one.
    private(set) var me: Hello
    private nonisolated let lastWrite: @Sendable () -> UInt64
    /// Rises whenever this node may have been silent without knowing it.
    private(set) var livenessEpoch: UInt64 = 1
    private var listener: (any NetworkListener)?
    var peers: [NodeID: Peer] = [:]
    var links: [LinkID: Link] = [:]
    private var lastLink: UInt64 = 0
    var scheduler: GroupScheduler?
    private var timer: TimerToken?
    private var lastBeat: MonotonicTime
    /// When our neighbours last heard that we live, and the longest time that they did not since `lastBeat`.
    private var lastSign: MonotonicTime
    private var longestSilence = Duration.zero
    /// When they were told last in the middle of a turn, whether or not it reached them.
    private var lastShown: MonotonicTime
    var random: SeededGenerator
    /// Members by what the management group says: a node under a known id with another instance is an impostor.
    private var registeredInstances: [NodeID: UInt64] = [:]
    /// Takes a join request and the way to answer it.
    var joinHandler: (@Sendable (JoinRequest, @escaping @Sendable (JoinResponse) -> Void) -> Void)?
    /// What a seed answered this node's own join request.
    var joinAnswer: (@Sendable (Result<JoinResponse, NetworkError>) -> Void)?
    /// Connections that only ask which cluster is at the other end.
    var probes: [LinkID: @Sendable (UInt64?) -> Void] = [:]
    var joinHTTPAddress = ""
    /// Takes what other nodes ask.
    var requestHandler: (@Sendable (NodeQuestion) -> Void)?
    var requests = PendingNodeRequests()
    /// What an operator should know of a node of another cluster that takes this one for a member of its own.
    private(set) var strangersCall: String?
    /// The last reason why a peer did not want this node.
    var lastRefusal = ""
    private var neighbours: Set<NodeID>?
    var seeds: SeedCalls?
    var metrics = TransportMetrics()

    /// A connection that has not said hello for this long is closed.
    static let greetingTimeout: Duration = .seconds(3)
    /// A node that gets no answer to its request to join for this long closes the connection and asks again.
    static let joinTimeout: Duration = .seconds(10)
    /// A connection with a peer on which no whole frame arrived for this long is closed. Peers send a heartbeat per
    /// interval, so it is dead, or it waits for the rest of a frame whose stated length was damaged.
    static let silenceLimit: Duration = .seconds(3)
    /// How often nodes hear of each other that share no group whose members watch each other: often enough to keep the
    /// connection.
    static let distantInterval: Duration = .seconds(1)
    /// The same for a bulk connection, which is idle between transfers. As long as a transfer waits for its next part.
    static let bulkSilenceLimit = SnapshotState.transferTimeout
    /// A peer that refused this node, for a reason that an operator has to see to, is asked again after this long.
    static let refusalPause: Duration = .seconds(1)
    /// Peers, and connections that have not said hello yet; more are refused.
    static let linkLimit = 1024

    init(
        loop: any Loop, network: any Network, hello: Hello, lastWrite: @escaping @Sendable () -> UInt64,
        settings: GroupSettings, seed: UInt64, logger: FlotillaLogger
    ) {
        self.loop = loop
        unownedExecutor = loop.asUnownedSerialExecutor()
        self.network = network
        self.logger = logger
        me = hello
        self.lastWrite = lastWrite
        heartbeatInterval = settings.tickInterval
        failureTimeout = settings.failureTimeout
        random = SeededGenerator(seed: seed)
        me.life = random.next()
        me.lastWrite = lastWrite()
        lastBeat = loop.now
        lastSign = lastBeat
        lastShown = lastBeat
    }

    // MARK: Life

    /// Starts to listen. The address in force replaces port 0 in what this node says of itself.
    func listen(on address: String) throws(NetworkError) -> String {
        let listener = try network.listen(on: address, loop: loop) { [weak self] connection in
            guard let self else { return connection.close() }
            self.assumeOnLoop { $0.accept(connection) }
        }
        self.listener = listener
        if me.address.isEmpty || me.address == address { me.address = listener.address }
        return listener.address
    }

    func start(scheduler: GroupScheduler) {
        self.scheduler = scheduler
        lastBeat = loop.now
        lastSign = lastBeat
        armHeartbeat()
    }

    func setCluster(_ cluster: UInt64) {
        precondition(me.cluster == 0 || me.cluster == cluster, "a node belongs to one cluster for life")
        me.cluster = cluster
    }

    func stop() {
        if let timer { loop.cancel(timer) }
        timer = nil
        listener?.close()
        listener = nil
        scheduler = nil
        joinHandler = nil
        requestHandler = nil
        failRequests { _ in true }
        answerJoin(.failure(NetworkError(.shutDown, "the node shuts down")))
        for id in links.keys.sorted() { links[id]?.connection.close() }
    }

    // MARK: Peers

    /// A hint where a node listens, from the management group or from an old log. It is dialled if need be.
    func addPeer(_ node: NodeID, address: String) {
        guard node != me.node else { return }
        if peers[node] == nil {
            peers[node] = Peer(
                node: node, address: address, backoff: Backoff(), nextDial: loop.now, lastHeard: loop.now)
        } else {
            peers[node]!.address = address
        }
        dialIfNeeded(node)
    }

    /// With whom this node shares a group whose members watch each other; nil for all. The others hear of it rarely.
    func setNeighbours(_ nodes: Set<NodeID>?) { neighbours = nodes }

    /// The management group's truth about members.
    func setMembers(_ members: [NodeID: UInt64]) { registeredInstances = members }

    /// Whoever is no member any more, and has no replica in a group of this node, is forgotten. Not before: a removed
    /// node may have to lead its groups until its successor is in place.
    private func forgetStrangers() {
        for node in peers.keys.sorted() where !isWelcome(node) {
            for (_, link) in links.sorted(by: { $0.key < $1.key }) {
                if case .ready(node) = link.state { link.connection.close() }
            }
            peers[node] = nil
        }
    }

    func isConnected(to node: NodeID) -> Bool { peers[node]?.link != nil }
    func livenessEpoch(of node: NodeID) -> UInt64? { peers[node].map { $0.livenessEpoch } }

    /// A founder that lost its data and was started as at its first time has founded a second cluster. Only the members of
    /// the first one know: they look for it here.
    func strangerCalled(_ hello: Hello) {
        let isNews = strangersCall == nil
        strangersCall =
            "\(hello.node) of cluster \(String(hello.cluster, radix: 16)) takes this node for a member of its cluster: if "
            + "this one lost its data and has founded another cluster by mistake, stop it, empty its data directory and "
            + "start it with --join \(hello.address), without --bootstrap"
        if isNews { logger.error("a node of another cluster calls", ["what": strangersCall ?? ""]) }
    }

    /// How long nothing was heard of a node, by this loop's own running time; nil for a node never seen.
    func silence(of node: NodeID) -> Duration? {
        let now = loop.now
        return peers[node].map { max(.zero, $0.lastHeard.duration(to: now) - ownStall(now)) }
    }

    /// For how long this loop has stood still since its last heartbeat. That is nobody's silence, whoever asks first.
    private func ownStall(_ now: MonotonicTime) -> Duration {
        let lag = lag(now)
        return lag > heartbeatInterval / 2 && !mutated(.countsOwnStallAsSilence) ? lag : .zero
    }

    /// How late the next heartbeat is.
    private func lag(_ now: MonotonicTime) -> Duration {
        lastBeat.advanced(by: heartbeatInterval).duration(to: now)
    }

    /// - Returns: false if it could not be taken: not connected, or too much waits already.
    func send(_ payload: [UInt8], to node: NodeID) -> Bool {
        guard let id = peers[node]?.link, let link = links[id] else { return false }
        metrics.framesOut += 1
        metrics.bytesOut += UInt64(payload.count)
        metrics.largestFrameOut = max(metrics.largestFrameOut, UInt64(payload.count))
        return link.connection.send(payload)
    }

    // MARK: Dialling

    func dialIfNeeded(_ node: NodeID) {
        guard var peer = peers[node], scheduler != nil, me.cluster != 0, peer.link == nil, peer.dialing == nil,
            !peer.address.isEmpty, peer.nextDial <= loop.now
        else { return }
        peer.dialing = dial(peer.address, purpose: .consensus)
        peer.nextDial = loop.now.advanced(by: peer.backoff.next(using: &random))
        peers[node] = peer
    }

    func dial(_ address: String, purpose: Hello.Purpose) -> LinkID {
        let id = makeLinkID()
        let delegate = LinkDelegate(id: id, transport: self)
        let connection = network.connect(to: address, loop: loop, delegate: delegate)
        links[id] = Link(
            id: id, connection: connection, isInitiator: true, purpose: purpose,
            state: .greeting(since: loop.now), lastFrame: loop.now, delegate: delegate)
        return id
    }

    private func makeLinkID() -> LinkID {
        lastLink += 1
        return LinkID(rawValue: lastLink)
    }

    private func accept(_ connection: any FrameConnection) {
        guard scheduler != nil, links.count < Self.linkLimit else { return connection.close() }
        let id = makeLinkID()
        let delegate = LinkDelegate(id: id, transport: self)
        connection.delegate = delegate
        links[id] = Link(
            id: id, connection: connection, isInitiator: false, purpose: .consensus,
            state: .greeting(since: loop.now), lastFrame: loop.now, delegate: delegate)
        sendHello(id)
    }

    // MARK: Heartbeats and the failure detector

    private func armHeartbeat() {
        timer = loop.schedule(at: lastBeat.advanced(by: heartbeatInterval)) { [weak self] in
            self?.assumeOnLoop { $0.beat() }
        }
    }

    private func beat() {
        let now = loop.now
        noteSign(now)
        // After a long silence our peers may have given us up without our knowing: whoever trusted us must look again.
        let (silence, forgiven) = (longestSilence, ownStall(now))
        lastBeat = now
        longestSilence = .zero
        if silence > failureTimeout {
            if !mutated(.keepsLivenessEpochAfterStall) { livenessEpoch += 1 }
            logger.warning("this node's loop stood still", ["for": "\(silence)"])
            scheduler?.assumeOnLoop { $0.livenessEpochDidChange() }
        }
        forgetStrangers()
        for node in peers.keys.sorted() {
            peers[node]!.lastHeard = min(now, peers[node]!.lastHeard.advanced(by: forgiven))
            watch(node, now)
            if let link = peers[node]?.link {
                if isDue(node, now) {
                    peers[node]!.lastBeat = (now, isDistant(node))
                    transmit(heartbeat(to: node), over: link)
                }
            } else {
                dialIfNeeded(node)
            }
        }
        callSeed(now)
        closeSilentLinks(now, forgiven)
        expireRequests(now)
        armHeartbeat()
    }

    private func noteSign(_ now: MonotonicTime) {
        longestSilence = max(longestSilence, lastSign.advanced(by: heartbeatInterval).duration(to: now))
        lastSign = now
    }

    /// Called while much is done in one turn of the loop: the neighbours hear that we live before they give us up, which
    /// would make more to do for all. Who is silent is looked at by `beat`, once what has arrived was read.
    func showLife() {
        let now = loop.now
        // A heartbeat that is merely due is on its way.
        guard max(lastSign, lastShown).advanced(by: heartbeatInterval * 3 / 2) < now else { return }
        lastShown = now
        var hasReachedAll = true
        for node in peers.keys.sorted() where !isDistant(node) {
            if let link = peers[node]?.link, transmit(heartbeat(to: node), over: link) {
                links[link]?.connection.flush()
            } else if peers[node]?.isAlive == true {
                hasReachedAll = false
            }
        }
        // Who has heard nothing may give us up. A node that is dead for us has nothing to give up.
        if hasReachedAll { noteSign(now) }
    }

    /// What this node says of itself at this moment.
    func heartbeat(to node: NodeID) -> PeerFrameItem {
        var beat = NodeHeartbeat(boot: me.boot, livenessEpoch: livenessEpoch, lastWrite: lastWrite())
        beat.isDistant = isDistant(node)
        return .heartbeat(beat)
    }

    private func isDue(_ node: NodeID, _ now: MonotonicTime) -> Bool {
        // The first late one is announced by one that is not.
        guard isDistant(node), let last = peers[node]?.lastBeat, last.isDistant else { return true }
        return last.time.advanced(by: Self.distantInterval) <= now
    }

    /// Whether the two need not hear of each other's end at once.
    private func isDistant(_ node: NodeID) -> Bool { neighbours.map { !$0.contains(node) } ?? false }

    private func watch(_ node: NodeID, _ now: MonotonicTime) {
        let limit = peers[node]!.isDistant ? Self.silenceLimit : failureTimeout
        guard peers[node]!.isAlive, peers[node]!.lastHeard.advanced(by: limit) < now else { return }
        peers[node]!.isAlive = false
        logger.warning("\(node) is silent", ["for": "\(limit)"])
        scheduler?.assumeOnLoop { $0.peerDidChange(node, .died) }
    }

    private func closeSilentLinks(_ now: MonotonicTime, _ forgiven: Duration) {
        for (id, link) in links.sorted(by: { $0.key < $1.key }) {
            let deadline: MonotonicTime
            switch link.state {
            case .greeting(let since): deadline = since.advanced(by: Self.greetingTimeout)
            case .joining(let since): deadline = since.advanced(by: Self.joinTimeout)
            case .refused(let since): deadline = since.advanced(by: Self.greetingTimeout)
            case .ready:
                let lastFrame = min(now, link.lastFrame.advanced(by: forgiven))
                links[id]!.lastFrame = lastFrame
                deadline = lastFrame.advanced(
                    by: link.purpose == .bulk ? Self.bulkSilenceLimit : Self.silenceLimit)
            }
            if deadline < now { link.connection.close() }
        }
    }

    /// Something arrived from a node.
    func heard(_ node: NodeID, boot: UInt64, epoch: UInt64, lastWrite: UInt64 = 0, isDistant: Bool = false) {
        guard var peer = peers[node] else { return }
        let isNews = !peer.isAlive || peer.boot != boot || peer.livenessEpoch != epoch
        peer.lastHeard = loop.now
        peer.isAlive = true
        peer.isDistant = isDistant
        peer.boot = boot
        peer.livenessEpoch = epoch
        peer.lastWrite = max(peer.lastWrite, lastWrite)
        peers[node] = peer
        if isNews { scheduler?.assumeOnLoop { $0.peerDidChange(node, .newEpoch) } }
    }

    func registeredInstance(of node: NodeID) -> UInt64? { registeredInstances[node] }

    /// False once the management group has spoken and did not name the node, and no group here has a replica on it.
    /// A node that none of the members it knows is connected to may be far behind: they can all have been replaced
    /// while it was away, and it can hear that from strangers only. So may one that hears of no leader of management:
    /// one who joined since may lead, and would be refused for ever by those who are to hear of it from it.
    func isWelcome(_ node: NodeID) -> Bool {
        registeredInstances.isEmpty || registeredInstances[node] != nil
            || scheduler?.assumeOnLoop { $0.hasReplica(on: node) } ?? false
            || !peers.values.contains { registeredInstances[$0.node] != nil && $0.link != nil }
            || !mutated(.refusesUnknownLeaders) && scheduler?.assumeOnLoop { $0.isWithoutManagement } ?? false
    }
}

/// Counters of one transport since it started.
public struct TransportMetrics: Sendable {
    public var framesIn: UInt64 = 0
    public var framesOut: UInt64 = 0
    /// Of the frames that were sent: heartbeats, and questions between nodes with their answers.
    public var heartbeatsOut: UInt64 = 0
    public var requestsOut: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    /// In bytes.
    public var largestFrameOut: UInt64 = 0
    public var connectionsOpened: UInt64 = 0
    public var connectionsClosed: UInt64 = 0
    public var connectionsRefused: UInt64 = 0
    /// Frames whose checksum matched and whose content did not make sense.
    public var framesUnreadable: UInt64 = 0
}
