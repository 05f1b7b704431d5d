import FlotillaIO

/// `flotilla-bench compare A.json B.json`: what changed between two runs.
enum Comparison {
    static let command = CommandDescription(
        "flotilla-bench compare",
        summary: "Says what changed between two runs, and whether by more than their own spread.",
        arguments: ["BEFORE.json", "AFTER.json"])

    static func run(_ options: ParsedOptions) async throws {
        let before = try Report(readingFrom: options.arguments[0])
        let after = try Report(readingFrom: options.arguments[1])
        if let objection = objection(before, after) { throw BenchError(objection) }
        Terminal.write(text(before, after))
    }

    /// Why the figures of two runs are not those of the same thing; nil if they are.
    static func objection(_ before: Report, _ after: Report) -> String? {
        guard before.scenario == after.scenario else {
            return "one is a run of '\(before.scenario)' and the other of '\(after.scenario)'"
        }
        let names = Set(before.parameters.keys).union(after.parameters.keys).sorted()
        let different = names.filter { before.parameters[$0] != after.parameters[$0] }
        guard !different.isEmpty else { return nil }
        let parts = different.map { name in
            "\(name) was \(before.parameters[name] ?? "not set") and is \(after.parameters[name] ?? "not set")"
        }
        return "the two were measured with other parameters: \(parts.joined(separator: "; "))"
    }

    enum Verdict: String {
        case better
        case worse
        /// The samples of the two runs overlap, or are too few to say.
        case noise = "within noise"
    }

    /// A change counts where every sample of one run is on the same side of every sample of the other, and there are
    /// three of each at least: by chance alone that happens to one figure in ten, and with five of each to one in 126.
    static func verdict(_ before: Report.Measure, _ after: Report.Measure) -> Verdict {
        guard before.samples.count >= 3, after.samples.count >= 3 else { return .noise }
        let rises = after.least > before.most
        guard rises || after.most < before.least else { return .noise }
        return rises == before.isBetterHigher ? .better : .worse
    }

    static func text(_ before: Report, _ after: Report) -> String {
        var table = TextTable(["", "", "", "before", "after", "change", ""], rightAligned: [3, 4, 5])
        var missing: [String] = []
        for old in before.measures {
            guard let new = after.measures.first(where: { $0.isSameFigure(as: old) }) else {
                missing.append(old.title)
                continue
            }
            let change = old.median == 0 ? "" : "\(rounded((new.median / old.median - 1) * 100, 1)) %"
            table.add([
                old.contestant, old.setting, old.name, Report.spread(old.samples), Report.spread(new.samples), change,
                verdict(old, new).rawValue,
            ])
        }
        var text =
            "\(before.scenario) at \(before.commit) and at \(after.commit), median (least to most):\n\n\(table.text)"
        for (name, report) in [("first", before), ("second", after)] where !report.isComplete {
            text += "\nThe \(name) run is not complete: it was interrupted, or failed.\n"
        }
        if before.machine.processor != after.machine.processor || before.machine.cores != after.machine.cores {
            text += "\nThe two ran on different machines: only ratios within one run can be compared.\n"
        }
        if !missing.isEmpty { text += "\nNot in the second run: \(missing.joined(separator: "; "))\n" }
        let new = after.measures.filter { new in !before.measures.contains { $0.isSameFigure(as: new) } }
        if !new.isEmpty { text += "\nOnly in the second run: \(new.map(\.title).joined(separator: "; "))\n" }
        return text
    }
}
