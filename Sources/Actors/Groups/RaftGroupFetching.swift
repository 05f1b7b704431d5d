import FlotillaIO
import FlotillaRaft

/// Getting a snapshot, on a follower. The core hears of it once it is on disk here.
extension RaftGroup {
    /// The leader says that this replica needs a snapshot.
    func receiveSnapshot(_ message: Message, _ metadata: SnapshotMetadata, _ offer: SnapshotOffer, from node: NodeID) {
        guard stopReason == nil, withdrawal == nil else { return }
        noteSender(of: message, node)
        guard metadata.index > core.commitIndex else { return core.step(message) }
        let id = SnapshotID(identity, metadata)
        if let fetch = transfers.fetch {
            if fetch.phase == .finishing || fetch.id.index > id.index { return }
            guard message.term >= fetch.message.term else { return }
            if fetch.id == id, fetch.offer == offer {
                // A request or its answer may have been lost, and the core takes a snapshot from the leader of its own
                // term only.
                transfers.fetch?.announcedAgain(message, by: node, now: loop.now)
                return requestChunks()
            }
        }
        if let completion = transfers.completion {
            guard message.term >= completion.message.term, id.index >= completion.id.index else { return }
            if completion.id == id { return announcedAgain(message, by: node) }
            transfers.completion = nil
        }
        guard transfers.installing == nil else { return }
        logger.info(
            "\(identity.group) gets a snapshot",
            ["index": metadata.index.description, "bytes": "\(offer.size)", "from": node.description])
        transfers.fetch = SnapshotFetch(
            id: id, offer: offer, pieceBytes: settings.snapshotFiles.pieceBytes, message: message,
            sources: sources(of: metadata, node), now: loop.now)
        if let bytes = offer.bytes { return take(bytes, metadata) }
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try store.beginFetch(id, offer)
        } then: { outcome in
            self.assumeOnLoop { $0.fetchIsPrepared(id, outcome) }
        }
    }

    /// Who may have a snapshot, whoever announced it first.
    private func sources(of metadata: SnapshotMetadata, _ announcer: NodeID?) -> [NodeID] {
        var sources = announcer.map { [$0] } ?? []
        for member in metadata.configuration.members + core.configuration.members
        where member.node != node && !sources.contains(member.node) {
            sources.append(member.node)
        }
        return sources
    }

    /// It came with its announcement.
    private func take(_ bytes: [UInt8], _ metadata: SnapshotMetadata) {
        guard let fetch = transfers.fetch, fetch.offer.matches(bytes) else {
            transfers.fetch = nil
            return logger.warning("\(identity.group): a snapshot does not match its checksum", [:])
        }
        transfers.fetch?.finishEmbedded()
        if mutated(.installsSnapshotBeforeItIsSaved),
            let state = try? Self.decodeState(bytes, for: type(of: stateMachine))
        {
            transfers.installing = (metadata, state)
            core.step(fetch.message)
        }
        let id = fetch.id
        snapshotStore.perform(on: loop) { store throws(LogError) -> [UInt8]? in
            _ = try store.save(bytes, as: id)
            return bytes
        } then: { outcome in
            self.assumeOnLoop { $0.fetchIsFinished(id, outcome) }
        }
    }

    private func fetchIsPrepared(_ id: SnapshotID, _ outcome: Result<[Bool], LogError>) {
        guard stopReason == nil, transfers.fetch?.id == id, transfers.fetch?.phase == .preparing else { return }
        switch outcome {
        case .failure(let error): stopFetching(error)
        case .success(let present):
            transfers.fetch?.prepared(present: present, now: loop.now)
            requestChunks()
        }
    }

    private func requestChunks() {
        guard let requests = transfers.fetch?.takeRequests(now: loop.now), !requests.isEmpty else {
            return finishIfComplete()
        }
        for (node, request) in requests { bulkItems.append((node, .snapshotRequest(request))) }
        wake()
    }

    func receiveChunk(_ chunk: SnapshotChunk, from node: NodeID) {
        guard stopReason == nil, transfers.fetch?.id == chunk.id else { return }
        guard !chunk.isGone else { return sourceFailed(node) }
        guard let received = transfers.fetch?.receive(chunk.piece, from: node, now: loop.now) else { return }
        metrics.snapshotChunksFetched += 1
        let id = chunk.id
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try store.write(received, of: id)
        } then: { outcome in
            self.assumeOnLoop { $0.chunkIsWritten(id, offset: received.offset, outcome) }
        }
    }

    private func chunkIsWritten(_ id: SnapshotID, offset: UInt64, _ outcome: Result<Bool, LogError>) {
        guard stopReason == nil, transfers.fetch?.id == id else { return }
        switch outcome {
        case .failure(let error): stopFetching(error)
        case .success(let isValid):
            if !isValid { logger.warning("\(identity.group): a part of a snapshot came damaged", ["at": "\(offset)"]) }
            transfers.fetch?.written(offset: offset, isValid: isValid)
            requestChunks()
        }
    }

    /// A node does not have the snapshot, or cannot be reached: others are asked.
    func sourceFailed(_ node: NodeID) {
        guard stopReason == nil, snapshots.transfers?.fetch != nil else { return }
        transfers.fetch?.fail(node)
        requestChunks()
    }

    private func finishIfComplete() {
        guard let fetch = transfers.fetch, fetch.isComplete else { return }
        transfers.fetch?.finish()
        let id = fetch.id
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try store.finishFetch(id)
        } then: { outcome in
            self.assumeOnLoop { $0.fetchIsFinished(id, outcome) }
        }
    }

    private func fetchIsFinished(_ id: SnapshotID, _ outcome: Result<[UInt8]?, LogError>) {
        guard stopReason == nil, let fetch = transfers.fetch, fetch.id == id else { return }
        transfers.fetch = nil
        switch outcome {
        case .failure(let error): return stopFetching(error)
        case .success(nil):
            logger.warning("\(identity.group): a fetched snapshot does not match its checksum", [:])
        case .success(let bytes?):
            guard case .snapshot(let metadata) = fetch.message.body else { return }
            complete(
                SnapshotCompletion(
                    id: id, metadata: metadata, bytes: bytes, message: fetch.message,
                    sources: sources(of: metadata, self.node(of: fetch.message.from)), now: loop.now))
        }
        wake()
    }

    private func stopFetching(_ error: LogError) {
        transfers.fetch = nil
        if error.code == .diskFull {
            // The leader offers it again.
            return logger.warning("a snapshot of \(identity.group) was fetched and not kept: \(error)", [:])
        }
        stop(GroupError(.stopped, "a snapshot of \(identity.group) could not be written: \(error)"))
    }

    func expireFetch(now: MonotonicTime) {
        guard let fetch = transfers.fetch, fetch.phase == .fetching else { return }
        if fetch.lastProgress.advanced(by: SnapshotState.transferTimeout) <= now {
            // What has arrived stays on disk for the next attempt.
            transfers.fetch = nil
            return logger.warning("\(identity.group): nobody hands out the snapshot", ["index": "\(fetch.id.index)"])
        }
        transfers.fetch?.expire(now: now)
        requestChunks()
    }
}

extension SnapshotOffer {
    func matches(_ bytes: [UInt8]) -> Bool {
        UInt64(bytes.count) == size && CRC32C.checksum(bytes) == checksum
    }
}
