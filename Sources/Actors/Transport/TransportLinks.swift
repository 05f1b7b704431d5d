import FlotillaIO
import FlotillaRaft

/// Greeting, and what arrives once it is done.
extension Transport {
    func linkDidOpen(_ id: LinkID) {
        metrics.connectionsOpened += 1
        sendHello(id)
    }

    func sendHello(_ id: LinkID) {
        guard let link = links[id] else { return }
        var hello = me
        hello.purpose = link.purpose
        transmit(.hello(hello), over: id)
    }

    /// - Returns: false if too much waits already.
    @discardableResult
    func transmit(_ item: PeerFrameItem, over id: LinkID) -> Bool {
        guard let link = links[id] else { return true }
        var writer = PeerFrameWriter(reservingCapacity: item.sizeHint)
        writer.add(item)
        let payload = writer.take()
        guard link.connection.send(payload) else { return false }
        metrics.framesOut += 1
        metrics.bytesOut += UInt64(payload.count)
        switch item {
        case .heartbeat: metrics.heartbeatsOut += 1
        case .request, .answer: metrics.requestsOut += 1
        default: break
        }
        return true
    }

    func link(_ id: LinkID, didReceive payload: [UInt8]) {
        guard let link = links[id] else { return }
        metrics.framesIn += 1
        metrics.bytesIn += UInt64(payload.count)
        links[id]!.lastFrame = loop.now
        if case .ready(let node) = link.state, let peer = peers[node] {
            peers[node]!.lastHeard = loop.now
            // Known before what the frame holds: a group that goes quiet by it trusts a node that is watched.
            if !peer.isAlive { heard(node, boot: peer.boot, epoch: peer.livenessEpoch) }
        }
        do throws(WireError) {
            try PeerFrameReader.read(payload) { item in take(item, from: id) }
        } catch {
            metrics.framesUnreadable += 1
            logger.warning(
                "a frame makes no sense; its connection is closed",
                ["from": link.connection.remoteAddress, "error": error.description])
            link.connection.close()
        }
    }

    private func take(_ item: PeerFrameItem, from id: LinkID) {
        guard let link = links[id] else { return }
        switch link.state {
        case .greeting:
            switch item {
            case .hello(let hello): greet(id, hello)
            case .refusal(let refusal): refused(id, refusal)
            default: break
            }
        case .joining:
            takeWhileJoining(item, from: id)
        case .refused:
            if case .refusal = item { link.connection.close() }
        case .ready(let node):
            guard let scheduler else { return }
            switch item {
            case .heartbeat(let beat):
                heard(
                    node, boot: beat.boot, epoch: beat.livenessEpoch, lastWrite: beat.lastWrite,
                    isDistant: beat.isDistant)
            case .message(let message):
                // A connection on which nothing ever comes back would be taken for dead.
                if link.purpose == .bulk { transmit(heartbeat(to: node), over: id) }
                scheduler.assumeOnLoop { $0.receive(message, from: node) }
            case .unknownGroup(let unknown): scheduler.assumeOnLoop { $0.receive(unknown, from: node) }
            case .snapshotRequest(let request): scheduler.assumeOnLoop { $0.receive(request, from: node) }
            case .snapshotChunk(let chunk): scheduler.assumeOnLoop { $0.receive(chunk, from: node) }
            case .companionRequest(let request): scheduler.assumeOnLoop { $0.receive(request, from: node) }
            case .companionAnswer(let answer): scheduler.assumeOnLoop { $0.receive(answer, from: node) }
            case .request(let request): receive(request, from: node)
            case .answer(let answer): receive(answer, from: node)
            case .refusal(let refusal): refused(id, refusal)
            case .hello, .joinRequest, .joinResponse: break
            }
        }
    }

    private func takeWhileJoining(_ item: PeerFrameItem, from id: LinkID) {
        switch item {
        case .joinRequest(let request):
            guard let joinHandler else {
                transmit(
                    .joinResponse(
                        JoinResponse(
                            cluster: me.cluster,
                            refusal: Refusal(code: .notReady, message: "this node is not ready yet"))), over: id)
                return
            }
            joinHandler(request) { response in
                self.loop.execute { self.assumeOnLoop { _ = $0.transmit(.joinResponse(response), over: id) } }
            }
        case .joinResponse(let response):
            answerJoin(.success(response))
            links[id]?.connection.close()
        case .refusal(let refusal): refused(id, refusal)
        default: break
        }
    }

    private func refused(_ id: LinkID, _ refusal: Refusal) {
        if refusal.code.isWorthALine {
            metrics.connectionsRefused += 1
            // Said once, though it is tried again and again.
            if lastRefusal != refusal.message { logger.error("a peer refused this node", ["reason": refusal.message]) }
            lastRefusal = refusal.message
            // It has greeted already, so there is no backoff: it would be asked again at once, for ever.
            for node in peers.keys where peers[node]!.link == id || peers[node]!.dialing == id {
                peers[node]!.refusedUntil = loop.now.advanced(by: Self.refusalPause)
            }
        }
        if let link = links[id], link.isInitiator, link.purpose == .join {
            answerJoin(.success(JoinResponse(cluster: 0, refusal: refusal)))
        }
        links[id]?.connection.close()
    }

    private func refuse(_ id: LinkID, _ refusal: Refusal) {
        metrics.connectionsRefused += 1
        if refusal.code.isWorthALine {
            logger.warning(
                "a connection is refused",
                ["from": links[id]?.connection.remoteAddress ?? "", "reason": refusal.message])
        }
        transmit(.refusal(refusal), over: id)
        links[id]?.state = .refused(since: loop.now)
    }

    // MARK: Hello

    private func greet(_ id: LinkID, _ hello: Hello) {
        guard let link = links[id] else { return }
        if let objection = objection(to: hello, over: link) { return refuse(id, objection) }
        if !link.isInitiator { links[id]!.purpose = hello.purpose }
        switch links[id]!.purpose {
        case .join:
            links[id]!.state = .joining(since: loop.now)
            if let probe = probes.removeValue(forKey: id) {
                probe(hello.cluster == 0 ? nil : hello.cluster)
                return link.connection.close()
            }
            if link.isInitiator { sendJoinRequest(id) }
        case .bulk:
            links[id]!.state = .ready(hello.node)
            bulkDidOpen(id, hello.node)
        case .consensus:
            adopt(id, hello)
        }
    }

    private func objection(to hello: Hello, over link: Link) -> Refusal? {
        if hello.protocolMin > Hello.currentProtocol || hello.protocolMax < Hello.currentProtocol {
            return Refusal(
                code: .protocolMismatch,
                message: "this node speaks protocol \(Hello.currentProtocol), the other "
                    + "\(hello.protocolMin) to \(hello.protocolMax): upgrade the older one")
        }
        let isJoining = link.isInitiator ? link.purpose == .join : hello.purpose == .join
        if isJoining { return nil }
        if me.cluster == 0 {
            return Refusal(code: .notReady, message: "\(me.node) has not joined a cluster yet")
        }
        if hello.cluster != me.cluster {
            if !link.isInitiator { strangerCalled(hello) }
            return Refusal(
                code: .wrongCluster,
                message: "\(hello.node) belongs to cluster \(String(hello.cluster, radix: 16)), "
                    + "\(me.node) to cluster \(String(me.cluster, radix: 16))")
        }
        if hello.node == me.node {
            return Refusal(
                code: .duplicateNode, message: "\(hello.node) is the id of this node; give each node an id of its own")
        }
        guard isWelcome(hello.node) else {
            return Refusal(
                code: .notMember,
                message: "\(hello.node) is no member of this cluster: it was removed, or has not joined yet")
        }
        if let registered = registeredInstance(of: hello.node), registered != hello.instance {
            return Refusal(
                code: .duplicateNode,
                message: "\(hello.node) is a member with another data directory; "
                    + "remove it first (flotilla node remove \(hello.node.rawValue)) or choose another id")
        }
        if let peer = peers[hello.node], isOlder(hello, than: peer) {
            return Refusal(
                code: .olderBoot,
                message: "\(hello.node) came back as boot \(hello.boot) at write \(hello.lastWrite), after boot "
                    + "\(peer.boot) at write \(peer.lastWrite) was seen: this is an old copy of its data; put the newest "
                    + "back, or remove the node (flotilla node remove \(hello.node.rawValue)), empty its directory and "
                    + "start it with --join")
        }
        return nil
    }

    /// Whether this node has heard more of a peer's data than the data that the peer has now can have said: a copy was put
    /// back, and with it the peer would break promises that it made since. It is remembered as long as this node runs.
    /// What was acknowledged after the last heartbeat of the previous life is not seen here.
    private func isOlder(_ hello: Hello, than peer: Peer) -> Bool {
        guard peer.instance == hello.instance, peer.life != hello.life, !mutated(.welcomesOlderData) else {
            return false
        }
        return hello.boot <= peer.boot || hello.lastWrite < peer.lastWrite
    }

    /// Makes this connection the one with its peer, or refuses it where another one is to stay: the one that the lower
    /// node id opened, so that both sides decide alike, unless the peer has restarted since. Of two that the same node
    /// opened the later one stays: it has given up the other one, or would not have opened this.
    private func adopt(_ id: LinkID, _ hello: Hello) {
        let now = loop.now
        var peer =
            peers[hello.node]
            ?? Peer(node: hello.node, address: hello.address, backoff: Backoff(), nextDial: now, lastHeard: now)
        if let current = peer.link, let currentLink = links[current], peer.boot == hello.boot {
            let initiator = links[id]!.isInitiator ? me.node : hello.node
            let currentInitiator = currentLink.isInitiator ? me.node : hello.node
            guard initiator <= currentInitiator else {
                return refuse(id, Refusal(code: .replaced, message: "there is a connection already"))
            }
        }
        let previous = peer.link
        if peer.dialing == id { peer.dialing = nil }
        links[id]!.state = .ready(hello.node)
        peer.link = id
        if !hello.address.isEmpty { peer.address = hello.address }
        peer.lastWrite = max(peer.instance == hello.instance ? peer.lastWrite : 0, hello.lastWrite)
        peer.instance = hello.instance
        peer.life = hello.life
        peer.featureLevel = hello.featureLevel
        peer.backoff = Backoff()
        // The epoch comes with the first heartbeat.
        peers[hello.node] = peer
        if let previous { links[previous]?.connection.close() }
        transmit(heartbeat(to: hello.node), over: id)
        heard(hello.node, boot: hello.boot, epoch: peer.boot == hello.boot ? peer.livenessEpoch : 0)
        scheduler?.assumeOnLoop { $0.peerDidChange(hello.node, .newEpoch) }
        logger.debug("connected to \(hello.node)", ["address": peer.address])
    }

    func linkDidClose(_ id: LinkID, _ error: NetworkError?) {
        guard let link = links.removeValue(forKey: id) else { return }
        metrics.connectionsClosed += 1
        if let probe = probes.removeValue(forKey: id) {
            probe(nil)
        } else if link.isInitiator, link.purpose == .join {
            answerJoin(.failure(error ?? NetworkError(.connectionLost, "the seed did not answer")))
        }
        for node in peers.keys.sorted() {
            if peers[node]!.dialing == id { peers[node]!.dialing = nil }
            bulkDidClose(id, node)
            guard peers[node]!.link == id else { continue }
            peers[node]!.link = nil
            failRequests { $0.node == node }
            logger.debug("lost the connection to \(node)", ["error": error?.description ?? "closed"])
            scheduler?.assumeOnLoop { $0.peerDidChange(node, .disconnected) }
            peers[node]!.nextDial = max(loop.now, peers[node]!.refusedUntil ?? loop.now)
            dialIfNeeded(node)
        }
    }

    // MARK: Joining

    /// Asks the node at `address` to make this one a member. The answer goes to `completion`, once.
    func join(
        at address: String, httpAddress: String,
        completion: @escaping @Sendable (Result<JoinResponse, NetworkError>) -> Void
    ) {
        joinAnswer = completion
        joinHTTPAddress = httpAddress
        _ = dial(address, purpose: .join)
    }

    func answerJoin(_ answer: Result<JoinResponse, NetworkError>) {
        let waiter = joinAnswer
        joinAnswer = nil
        waiter?(answer)
    }

    /// The node does not want to join any more: whoever waits for the answer is told.
    func abandonJoin() {
        for id in links.keys.sorted() where links[id]!.isInitiator && links[id]!.purpose == .join {
            links[id]!.connection.close()
        }
    }

    /// Asks who is at `address`.
    func probe(_ address: String, completion: @escaping @Sendable (UInt64?) -> Void) {
        probes[dial(address, purpose: .join)] = completion
    }

    private func sendJoinRequest(_ id: LinkID) {
        transmit(
            .joinRequest(
                JoinRequest(
                    node: me.node, instance: me.instance, address: me.address, httpAddress: joinHTTPAddress,
                    featureLevel: me.featureLevel)), over: id)
    }

    // MARK: Bulk

    /// Sends over the second connection to a node; opens it where there is none.
    /// - Returns: false if too much waits for that connection already; `GroupScheduler.bulkIsWritable` follows.
    func sendBulk(_ item: PeerFrameItem, to node: NodeID) -> Bool {
        guard let peer = peers[node] else { return true }
        switch peer.bulk {
        case .open(let id): return transmit(item, over: id)
        case .dialing(let id, var waiting):
            guard waiting.count < Peer.bulkQueueLimit else { return true }
            waiting.append(item)
            peers[node]!.bulk = .dialing(id, waiting: waiting)
        case .none:
            guard !peer.address.isEmpty else { return true }
            peers[node]!.bulk = .dialing(dial(peer.address, purpose: .bulk), waiting: [item])
        }
        return true
    }

    func linkIsWritable(_ id: LinkID) {
        guard let link = links[id], link.purpose == .bulk, case .ready(let node) = link.state else { return }
        scheduler?.assumeOnLoop { $0.bulkIsWritable(node) }
    }

    private func bulkDidOpen(_ id: LinkID, _ node: NodeID) {
        guard let peer = peers[node] else { return }
        if case .dialing(let mine, let waiting) = peer.bulk, mine == id {
            for item in waiting { transmit(item, over: id) }
            peers[node]!.bulk = .open(id)
        } else if case .none = peer.bulk {
            // The peer opened it to fetch from us; answers go back the same way.
            peers[node]!.bulk = .open(id)
        } else if case .open = peer.bulk {
            peers[node]!.bulk = .open(id)
        }
    }

    private func bulkDidClose(_ id: LinkID, _ node: NodeID) {
        switch peers[node]!.bulk {
        case .open(let mine) where mine == id: break
        case .dialing(let mine, _) where mine == id: break
        case .none, .open, .dialing: return
        }
        peers[node]!.bulk = .none
        scheduler?.assumeOnLoop { $0.bulkDidClose(node) }
    }
}
