import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What concerns the runs of all clusters.

extension WorkflowRouter {
    /// Clusters that are asked at the same time.
    private static let breadth = 64

    /// The runs of all clusters in the order of their starts. Each cluster's part is as of a moment after the call; a run
    /// that moves between two clusters meanwhile may be named twice, or by the next page only.
    func list(_ filter: WorkflowFilter, after: String?, limit: Int) async throws -> WorkflowPage {
        let limit = max(1, min(limit, WorkflowLimits.listLimitMax))
        guard var place = ListPlace(after) else {
            throw WorkflowError(
                .invalidPage, "'\(after ?? "")' is not where a page begins; take 'next' of the page before it")
        }
        let groups = try await workflowGroups()
        let start = place
        let answers = await inPortions(groups) { group in
            let request = ListRuns(filter: filter, after: start.position(of: group), limit: limit)
            return try? await self.perform(request, in: group)
        }
        // A page that was given up is not a page of clusters that do not answer.
        try Task.checkCancellation()
        var parts: [(group: GroupID, reply: ListRuns.Reply)] = []
        var page = WorkflowPage(runs: [], next: nil)
        for (group, reply) in answers {
            if let reply {
                parts.append((group, reply))
            } else {
                page.unavailable.append(machines.name(of: group))
            }
        }
        guard !parts.isEmpty else {
            throw WorkflowError(.unavailable, "none of the \(groups.count) clusters answers; ask again")
        }
        page.asOf = parts.map(\.reply.asOf).min() ?? 0
        var taken = Array(repeating: 0, count: parts.count)
        while page.runs.count < limit {
            let heads = parts.indices.filter { taken[$0] < parts[$0].reply.runs.count }
            func order(_ part: Int) -> (Int64, String, GroupID) {
                let info = parts[part].reply.runs[taken[part]].info
                return (info.startedAt, info.workflowID, parts[part].group)
            }
            guard let first = heads.min(by: { order($0) < order($1) }) else { break }
            let run = parts[first].reply.runs[taken[first]]
            taken[first] += 1
            page.runs.append(run.info)
            place.set(parts[first].group, run.position)
        }
        // A cluster that does not answer makes no further page, or whoever reads all pages would never be done.
        var hasMore = false
        for (part, count) in zip(parts, taken) {
            let isExhausted = count == part.reply.runs.count
            // What it looked at behind the last match need not be looked at again.
            if isExhausted, let next = part.reply.next { place.set(part.group, next) }
            hasMore = hasMore || !isExhausted || part.reply.next != nil
        }
        if hasMore { page.next = place.text }
        return page
    }

    func count(_ filter: WorkflowFilter) async throws -> WorkflowCount {
        let groups = try await workflowGroups()
        let answers = await inPortions(groups) { group in try? await self.perform(CountRuns(filter: filter), in: group)
        }
        var count = WorkflowCount(asOf: .max)
        for (group, reply) in answers {
            guard let reply else {
                count.unavailable.append(machines.name(of: group))
                continue
            }
            count.asOf = min(count.asOf, reply.asOf)
            for (name, number) in reply.counts {
                guard let status = WorkflowStatus(name: name) else { continue }
                count.byStatus[status, default: 0] += number
            }
        }
        guard count.unavailable.count < groups.count else {
            throw WorkflowError(.unavailable, "none of the \(groups.count) clusters answers; ask again")
        }
        return count
    }

    func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int
    ) async throws -> (count: Int, hasMore: Bool) {
        var count = 0
        for group in try await workflowGroups() {
            while true {
                guard count < limit else { return (count, true) }
                let request = PruneFinishedRuns(
                    retention: retention, limit: min(limit - count, PruneFinishedRuns.portion))
                let reply = try await perform(request, in: group)
                count += reply.count
                guard reply.hasMore else { break }
            }
        }
        return (count, false)
    }

    /// The groups that run workflows, ascending; waits until this node has heard of one.
    func workflowGroups() async throws -> [GroupID] {
        try await machines.untilHeard(on: core.loop, patience: Self.patience)
        return machines.management.withLock { $0.clusters.members.map(\.value.group).sorted() }
    }

    func inPortions<Answer: Sendable>(
        _ groups: [GroupID], _ body: @escaping @Sendable (GroupID) async -> Answer
    ) async -> [(group: GroupID, answer: Answer)] {
        var answers: [GroupID: Answer] = [:]
        for start in stride(from: 0, to: groups.count, by: Self.breadth) {
            await withTaskGroup(of: (GroupID, Answer).self) { tasks in
                for group in groups[start..<min(groups.count, start + Self.breadth)] {
                    tasks.addTask { (group, await body(group)) }
                }
                for await (group, answer) in tasks { answers[group] = answer }
            }
        }
        return answers.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}

/// Where a page of the fleet's runs begins: behind a position in each cluster's order of starts.
struct ListPlace: Hashable, Sendable {
    private var positions: [GroupID: UInt64] = [:]

    /// - Returns: nil unless the text is what a page has named.
    init?(_ text: String?) {
        guard let text, !text.isEmpty else { return }
        // A fleet with the common cluster alone writes a number.
        if let position = UInt64(text) {
            positions[ExecutionCluster.commonGroup] = position
            return
        }
        for part in text.split(separator: "-", omittingEmptySubsequences: false) {
            let numbers = part.split(separator: ".", omittingEmptySubsequences: false).map { UInt64($0) }
            guard numbers.count == 2, let group = numbers[0], let position = numbers[1],
                positions.updateValue(position, forKey: GroupID(group)) == nil
            else { return nil }
        }
    }

    func position(of group: GroupID) -> UInt64 { positions[group] ?? 0 }

    mutating func set(_ group: GroupID, _ position: UInt64) { positions[group] = position }

    var text: String {
        if Array(positions.keys) == [ExecutionCluster.commonGroup] {
            return "\(position(of: ExecutionCluster.commonGroup))"
        }
        return positions.sorted { $0.key < $1.key }.map { "\($0.key.rawValue).\($0.value)" }.joined(separator: "-")
    }
}
