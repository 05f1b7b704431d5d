import FlotillaIO
import FlotillaRaft

/// A snapshot that is here, while what its state machine keeps beside the state is still asked for.
struct SnapshotCompletion {
    let id: SnapshotID
    let metadata: SnapshotMetadata
    let bytes: [UInt8]
    /// What announced it, the newest time; the core is given this in the end.
    private(set) var message: Message
    /// Whom to ask, the next first.
    private var sources: [NodeID]
    /// What is being asked for.
    private(set) var request: CompanionRequest?
    private(set) var askedAt: MonotonicTime
    private(set) var lastProgress: MonotonicTime

    /// A source that does not answer for this long is passed over.
    static let sourceTimeout: Duration = .seconds(2)

    init(
        id: SnapshotID, metadata: SnapshotMetadata, bytes: [UInt8], message: Message, sources: [NodeID],
        now: MonotonicTime
    ) {
        self.id = id
        self.metadata = metadata
        self.bytes = bytes
        self.message = message
        self.sources = sources
        askedAt = now
        lastProgress = now
    }

    mutating func announcedAgain(_ message: Message, by node: NodeID) {
        self.message = message
        sources.removeAll { $0 == node }
        sources.insert(node, at: 0)
    }

    /// - Returns: whom to ask.
    mutating func ask(_ request: CompanionRequest, now: MonotonicTime) -> NodeID {
        self.request = request
        askedAt = now
        return sources[0]
    }

    /// The first source has no answer.
    mutating func passOver(_ node: NodeID) {
        guard sources.first == node, sources.count > 1 else { return }
        sources.append(sources.removeFirst())
    }

    mutating func passOverFirst() { passOver(sources[0]) }

    /// - Returns: whether this is the answer that is waited for.
    mutating func receive(_ answer: CompanionAnswer, now: MonotonicTime) -> Bool {
        guard answer.id == id, let request, answer.number == request.number else { return false }
        self.request = nil
        lastProgress = now
        return true
    }
}

extension RaftGroup {
    // MARK: Asking, on a follower

    /// A snapshot's bytes are on disk here; the core hears of them once nothing is missing beside them.
    func complete(_ completion: SnapshotCompletion) {
        transfers.completion = completion
        guard stateMachine.companion != nil else { return install(completion) }
        askForCompanion()
    }

    /// The state is decoded off the loop, which then only puts it in the place of the old one.
    private func install(_ completion: SnapshotCompletion) {
        let (id, bytes) = (completion.id, completion.bytes)
        snapshotStore.perform(on: loop) { [machine = type(of: stateMachine)] _ throws(LogError) in
            Result { () throws(ApplyError) in try Self.decodeState(bytes, for: machine) }
        } then: { outcome in
            self.assumeOnLoop { $0.stateIsDecoded(id, outcome) }
        }
    }

    private func stateIsDecoded(
        _ id: SnapshotID, _ outcome: Result<Result<GroupRestoration, ApplyError>, LogError>
    ) {
        guard stopReason == nil, let completion = transfers.completion, completion.id == id,
            case .success(let decoded) = outcome
        else { return }
        transfers.completion = nil
        switch decoded {
        case .failure(let error):
            stop(GroupError(.stopped, "the snapshot at \(completion.metadata.index) cannot be restored: \(error)"))
        case .success(let state):
            transfers.installing = (completion.metadata, state)
            core.step(completion.message)
            wake()
        }
    }

    private func askForCompanion() {
        guard let completion = transfers.completion, let companion = stateMachine.companion else { return }
        let (id, bytes) = (completion.id, completion.bytes)
        snapshotStore.perform(on: loop) { _ throws(LogError) in
            let snapshot: GroupSnapshot
            do {
                snapshot = try GroupSnapshot(bytes)
            } catch {
                throw LogError(.damaged, "snapshot \(id) cannot be decoded (\(error))")
            }
            return try companion.question(for: snapshot.state, formatVersion: snapshot.formatVersion)
        } then: { outcome in
            self.assumeOnLoop { $0.questionIsReady(id, outcome) }
        }
    }

    private func questionIsReady(_ id: SnapshotID, _ outcome: Result<[UInt8]?, LogError>) {
        guard stopReason == nil, let completion = transfers.completion, completion.id == id else { return }
        switch outcome {
        case .failure(let error): companionFailed(error)
        case .success(nil): install(completion)
        case .success(let question?):
            send(CompanionRequest(id: id, number: CRC32C.checksum(question), question: question))
        }
    }

    private func send(_ request: CompanionRequest) {
        guard let node = transfers.completion?.ask(request, now: loop.now) else { return }
        bulkItems.append((node, .companionRequest(request)))
        wake()
    }

    func receiveCompanion(_ answer: CompanionAnswer, from node: NodeID) {
        guard stopReason == nil, let companion = stateMachine.companion else { return }
        guard !answer.isGone else {
            // Another one is asked when the time is over: none may be able to answer just now.
            transfers.completion?.passOver(node)
            return
        }
        guard transfers.completion?.receive(answer, now: loop.now) == true else { return }
        let id = answer.id
        snapshotStore.perform(on: loop) { _ throws(LogError) in
            try companion.take(answer.body)
        } then: { outcome in
            self.assumeOnLoop { group in
                guard group.stopReason == nil, group.transfers.completion?.id == id else { return }
                switch outcome {
                case .success: group.askForCompanion()
                case .failure(let error): group.companionFailed(error)
                }
            }
        }
    }

    /// It was announced again: perhaps nothing of what was asked arrived.
    func announcedAgain(_ message: Message, by node: NodeID) {
        transfers.completion?.announcedAgain(message, by: node)
        if let request = transfers.completion?.request { send(request) }
    }

    func expireCompletion(now: MonotonicTime) {
        guard let completion = transfers.completion, let request = completion.request else { return }
        if completion.lastProgress.advanced(by: SnapshotState.transferTimeout) <= now {
            // What has arrived stays for the next attempt.
            transfers.completion = nil
            return logger.warning(
                "\(identity.group): nobody hands out what belongs to the snapshot", ["index": "\(completion.id.index)"])
        }
        guard completion.askedAt.advanced(by: SnapshotCompletion.sourceTimeout) <= now else { return }
        transfers.completion?.passOverFirst()
        send(request)
    }

    private func companionFailed(_ error: LogError) {
        transfers.completion = nil
        // The leader offers the snapshot again, and what has arrived stays for that.
        guard error.code != .diskFull else {
            return logger.warning("\(identity.group) cannot take what belongs to a snapshot yet: \(error)", [:])
        }
        stop(GroupError(.stopped, "what belongs to a snapshot of \(identity.group) could not be kept: \(error)"))
    }

    // MARK: Answering, on any member

    /// - Parameter reply: called on the loop.
    func answer(_ request: CompanionRequest, _ reply: @escaping @Sendable (CompanionAnswer) -> Void) {
        let gone = CompanionAnswer(id: request.id, number: request.number, body: [], isGone: true)
        guard stopReason == nil, let companion = stateMachine.companion, transfers.completion == nil,
            identity.incarnation == request.id.incarnation, core.appliedIndex >= request.id.index
        else { return reply(gone) }
        snapshotStore.perform(on: loop) { _ throws(LogError) in
            try companion.answer(to: request.question)
        } then: { [logger] outcome in
            switch outcome {
            case .success(let body):
                reply(CompanionAnswer(id: request.id, number: request.number, body: body, isGone: false))
            case .failure(let error):
                logger.error("what belongs to a snapshot cannot be read", ["reason": error.description])
                reply(gone)
            }
        }
    }
}

extension GroupScheduler {
    func receive(_ request: CompanionRequest, from node: NodeID) {
        guard let group = group(request.id.group) else { return }
        group.assumeOnLoop { group in
            group.didServe(node)
            group.answer(request) { [weak self] answer in
                self?.assumeOnLoop { _ = $0.sendBulk(.companionAnswer(answer), to: node) }
            }
        }
    }

    func receive(_ answer: CompanionAnswer, from node: NodeID) {
        guard let group = group(answer.id.group) else { return }
        group.assumeOnLoop { $0.receiveCompanion(answer, from: node) }
        markDirty(group)
    }
}
