import FlotillaRaft

/// How many live entries name each payload file.
struct PayloadUses {
    private var counts: [PayloadReference: Int] = [:]
    /// Those that had a use and have none any more, unless they were used again since.
    private var candidates: Set<PayloadReference> = []

    func contains(_ reference: PayloadReference) -> Bool { counts[reference] != nil }

    mutating func add(_ reference: PayloadReference) { counts[reference, default: 0] += 1 }

    mutating func remove(_ reference: PayloadReference) {
        guard let count = counts[reference] else { preconditionFailure("\(reference.fileName) has no use to give up") }
        counts[reference] = count == 1 ? nil : count - 1
        if count == 1 || mutated(.removesSharedPayloads) { candidates.insert(reference) }
    }

    /// The files that nobody needs any more; each is told once.
    mutating func takeUnused() -> [PayloadReference] {
        guard !candidates.isEmpty else { return [] }
        defer { candidates = [] }
        return candidates.filter { counts[$0] == nil || mutated(.removesSharedPayloads) }
            .sorted { $0.fileName < $1.fileName }
    }
}

/// Which payloads are in files.
extension LogTable {
    mutating func note(_ payloads: some Sequence<FiledPayload>, in replica: inout Replica) {
        for payload in payloads {
            payloadUses.add(payload.reference)
            replica.payloads.append(payload)
        }
    }

    mutating func dropPayloads(of replica: inout Replica, from index: LogIndex) {
        while let last = replica.payloads.last, last.index >= index {
            payloadUses.remove(last.reference)
            replica.payloads.removeLast()
        }
    }

    mutating func dropPayloads(of replica: inout Replica, through index: LogIndex) {
        let passed = replica.payloads.prefix { $0.index <= index }
        for payload in passed { payloadUses.remove(payload.reference) }
        replica.payloads.removeFirst(passed.count)
    }

    /// What a copy of entries says of their payloads. Where the entries were known before it says the same again.
    mutating func replacePayloads(
        of replica: inout Replica, in indexes: ClosedRange<LogIndex>, by payloads: [FiledPayload]
    ) {
        let tail = replica.payloads.filter { $0.index > indexes.upperBound }
        for payload in payloads + tail { payloadUses.add(payload.reference) }
        dropPayloads(of: &replica, from: indexes.lowerBound)
        replica.payloads += payloads + tail
    }

    /// Where the payloads of some of a replica's entries are.
    func payloads(of key: LogKey, in indexes: ClosedRange<LogIndex>) -> [FiledPayload] {
        replicas[key]?.payloads.filter { indexes.contains($0.index) } ?? []
    }
}
