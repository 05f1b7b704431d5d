import FlotillaIO

/// A report for the terminal.
extension Report {
    /// Of one contestant one table: a row for each setting, or for each figure where there is one setting. Of several
    /// contestants a table for each figure, with what the first does of what the others do.
    var text: String {
        let contestants = distinct(measures.map(\.contestant))
        let names = distinct(measures.map(\.name))
        let tables = contestants.count < 2 ? [table(names)] : names.map { table($0, contestants) }
        let rounds = measures.map(\.samples.count).max() ?? 0
        let notes =
            ["Median (least to most) of \(rounds)\(contestants.count < 2 ? "" : "; ratios round by round")."]
            + parameters.sorted { $0.key < $1.key }.map { "- \($0.key): \($0.value)" } + conditions.map { "- \($0)" }
        return tables.joined(separator: "\n") + "\n" + notes.joined(separator: "\n")
    }

    private func table(_ names: [String]) -> String {
        let settings = distinct(measures.map(\.setting))
        guard settings.count > 1 else {
            var table = TextTable(["figure", ""], rightAligned: [1])
            for measure in measures { table.add([measure.name, Self.spread(measure.samples)]) }
            return table.text
        }
        var table = TextTable([""] + names, rightAligned: Set(1...max(1, names.count)))
        for setting in settings {
            table.add(
                [setting]
                    + names.map { name in
                        measures.first { $0.name == name && $0.setting == setting }.map { Self.spread($0.samples) }
                            ?? ""
                    })
        }
        return table.text
    }

    private func table(_ name: String, _ contestants: [String]) -> String {
        let measured = measures.filter { $0.name == name }
        var table = TextTable(
            [name] + contestants + contestants.dropFirst().map { "\(contestants[0]) / \($0)" },
            rightAligned: Set(1..<2 * contestants.count))
        for setting in distinct(measured.map(\.setting)) {
            table.add(
                [setting]
                    + contestants.map { measure(name, setting, of: $0).map { Self.spread($0.samples) } ?? "" }
                    + contestants.dropFirst().map { other in
                        let ratios = ratios(name, setting, of: contestants[0], to: other)
                        return ratios.isEmpty ? "" : Self.spread(ratios)
                    })
        }
        return table.text
    }
}

/// The values in the order in which they first come, each once.
func distinct<Value: Hashable>(_ values: [Value]) -> [Value] {
    var seen: Set<Value> = []
    return values.filter { seen.insert($0).inserted }
}
