import FlotillaIO

/// The plan to recover a cluster, for people: whose log it is, who goes, and what that costs.
extension FleetTables {
    static func recovery(_ plan: JSONValue) -> String {
        var logs = TextTable(["NODE", "INCARNATION", "TERM", "LAST ENTRY", "COMMITTED", ""], rightAligned: Set(0...4))
        for candidate in plan["candidates"]?.elements ?? [] {
            let isSurvivor = candidate["node"] == plan["survivor"]
            let notes = [
                isSurvivor ? "the cluster goes on with this one" : nil,
                candidate["isDamaged"] == .bool(true) ? "damaged" : nil,
            ].compactMap(\.self)
            let names = ["node", "incarnation", "lastTerm", "lastIndex", "commitIndex"]
            logs.add(names.map { candidate[$0]?.cell ?? "" } + [notes.joined(separator: "; ")])
        }
        let isCarriedOut = plan["isCarriedOut"] == .bool(true)
        let (given, members) = (nodes(plan["givenUp"]), nodes(plan["members"]))
        var lines = [
            "Cluster \(plan["cluster"]?.cell ?? "") \(isCarriedOut ? "is" : "would be") founded anew, as incarnation "
                + "\(plan["incarnation"]?.cell ?? ""), with nodes \(members).",
            "Given up: \(given.isEmpty ? "nobody" : "nodes \(given)").",
        ]
        lines += (plan["consequences"]?.elements ?? []).map(\.cell)
        return logs.text + "\n" + lines.map { $0 + "\n" }.joined()
    }

    private static func nodes(_ ids: JSONValue?) -> String {
        ranges((ids?.elements ?? []).compactMap { if case .integer(let id) = $0 { id } else { nil } })
    }
}
