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
extension LogTable.Replica {
    mutating func note(_ new: some Sequence<FiledPayload>, _ space: inout LogSpace) {
        for payload in new {
            space.payloadUses.add(payload.reference)
            payloads.append(payload)
        }
    }

    mutating func dropPayloads(from index: LogIndex, _ space: inout LogSpace) {
        while let last = payloads.last, last.index >= index {
            space.payloadUses.remove(last.reference)
            payloads.removeLast()
        }
    }

    mutating func dropPayloads(through index: LogIndex, _ space: inout LogSpace) {
        let passed = payloads.prefix { $0.index <= index }
        for payload in passed { space.payloadUses.remove(payload.reference) }
        payloads.removeFirst(passed.count)
    }

    /// What a copy of entries says of their payloads. Where the entries were known before it says the same again.
    mutating func replacePayloads(
        in indexes: ClosedRange<LogIndex>, by new: [FiledPayload], _ space: inout LogSpace
    ) {
        let tail = payloads.filter { $0.index > indexes.upperBound }
        for payload in new + tail { space.payloadUses.add(payload.reference) }
        dropPayloads(from: indexes.lowerBound, &space)
        payloads += new + tail
    }
}

extension LogTable {
    /// Where the payloads of some of a replica's entries are.
    func payloads(of key: LogKey, in indexes: ClosedRange<LogIndex>) -> [FiledPayload] {
        replicas[key]?.payloads.filter { indexes.contains($0.index) } ?? []
    }
}
