import Glibc

/// A report as one page that needs nothing else: a plot and a table for each figure.
extension Report {
    var html: String { Self.page("\(scenario): \(commit)", content) }

    static func page(_ title: String, _ content: String) -> String {
        """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><title>\(escaped(title))</title>
        <style>
        body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
        table { border-collapse: collapse; margin: 1rem 0 }
        td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
        td:first-child, th:first-child { text-align: left }
        svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: #444 }
        pre { overflow-x: auto }
        </style></head><body>
        \(content)
        </body></html>

        """
    }

    /// What stands on the page.
    var content: String {
        var names: [String] = []
        for measure in measures where !names.contains(measure.name) { names.append(measure.name) }
        let figures = names.map(section).joined()
        let given = parameters.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        let notes = (given + conditions).map { "<li>\(Self.escaped($0))</li>" }.joined()
        return """
            <h1>\(Self.escaped(scenario))</h1>
            <p>\(Self.escaped(began)), commit \(Self.escaped(commit))\(isComplete ? "" : ", <strong>not complete</strong>")<br>
            \(Self.escaped(machine.processor)), \(machine.cores) cores, \(machine.memoryMebibytes) MiB, \
            \(Self.escaped(machine.system)), Linux \(Self.escaped(machine.kernel)), load before \(rounded(machine.loadBefore, 2))</p>
            \(figures)
            <h2>Conditions</h2><ul>\(notes)</ul>
            """
    }

    private func section(_ name: String) -> String {
        let all = measures.filter { $0.name == name }
        var settings: [String] = []
        var contestants: [String] = []
        for measure in all {
            if !settings.contains(measure.setting) { settings.append(measure.setting) }
            if !contestants.contains(measure.contestant) { contestants.append(measure.contestant) }
        }
        var rows = "<tr><th></th>" + contestants.map { "<th>\(Self.escaped($0))</th>" }.joined()
        if let first = contestants.first {
            rows += contestants.dropFirst().map { "<th>\(Self.escaped(first)) / \(Self.escaped($0))</th>" }.joined()
        }
        rows += "</tr>"
        for setting in settings {
            rows += "<tr><td>\(Self.escaped(setting))</td>"
            for contestant in contestants {
                let found = measure(name, setting, of: contestant)
                rows += "<td>\(found.map { Self.spread($0.samples) } ?? "")</td>"
            }
            for other in contestants.dropFirst() {
                let ratios = ratios(name, setting, of: contestants[0], to: other)
                rows += "<td>\(ratios.isEmpty ? "" : Self.spread(ratios))</td>"
            }
            rows += "</tr>"
        }
        return "<h2>\(Self.escaped(name))</h2>\(plot(name, settings, contestants))<table>\(rows)</table>"
    }

    /// The median, and from the least to the most.
    static func spread(_ samples: [Double]) -> String {
        let values = [Statistics.median(samples) ?? 0, samples.min() ?? 0, samples.max() ?? 0].map { value in
            rounded(value, abs(value) >= 100 ? 0 : abs(value) >= 1 ? 2 : 3)
        }
        return samples.count < 2 ? values[0] : "\(values[0]) (\(values[1]) to \(values[2]))"
    }

    // MARK: Plots

    private static let colors = ["#0b6e99", "#d9730d", "#6940a5", "#448361", "#c4554d", "#787774"]

    /// Medians over the settings, on a logarithmic scale, each with a bar from its least to its most sample.
    private func plot(_ name: String, _ settings: [String], _ contestants: [String]) -> String {
        let shown = measures.filter { $0.name == name && $0.least > 0 }
        guard let least = shown.map(\.least).min(), let most = shown.map(\.most).max() else { return "" }
        let (width, height, left, bottom) = (760.0, 260.0, 70.0, 40.0)
        let low = log10(least).rounded(.down)
        let high = max(low + 1, log10(most).rounded(.up))
        func y(_ value: Double) -> Double { 10 + (height - 10 - bottom) * (high - log10(value)) / (high - low) }
        func x(_ place: Int) -> Double {
            left + (width - left - 150) * (Double(place) + 0.5) / Double(max(1, settings.count))
        }
        var svg = "<svg viewBox=\"0 0 \(width) \(height)\" role=\"img\">"
        for exponent in stride(from: low, through: high, by: 1) {
            let value = pow(10, exponent)
            svg += "<line x1=\"\(left)\" x2=\"\(width - 150)\" y1=\"\(y(value))\" y2=\"\(y(value))\" stroke=\"#ddd\"/>"
            svg += "<text x=\"\(left - 8)\" y=\"\(y(value) + 4)\" text-anchor=\"end\">\(rounded(value, 6))</text>"
        }
        for (place, setting) in settings.enumerated() {
            svg += "<text x=\"\(x(place))\" y=\"\(height - 15)\" text-anchor=\"middle\">\(Self.escaped(setting))</text>"
        }
        for (number, contestant) in contestants.enumerated() {
            let color = Self.colors[number % Self.colors.count]
            var points: [String] = []
            for (place, setting) in settings.enumerated() {
                guard let found = measure(name, setting, of: contestant), found.least > 0 else { continue }
                let middle = x(place) + Double(number) * 4
                points.append("\(middle),\(y(found.median))")
                svg += "<line x1=\"\(middle)\" x2=\"\(middle)\" y1=\"\(y(found.least))\" y2=\"\(y(found.most))\""
                svg += " stroke=\"\(color)\" stroke-width=\"2\"/>"
                svg += "<circle cx=\"\(middle)\" cy=\"\(y(found.median))\" r=\"3.5\" fill=\"\(color)\"/>"
            }
            svg += "<polyline points=\"\(points.joined(separator: " "))\" fill=\"none\" stroke=\"\(color)\"/>"
            let line = 20 + Double(number) * 18
            svg += "<circle cx=\"\(width - 135)\" cy=\"\(line - 4)\" r=\"4\" fill=\"\(color)\"/>"
            svg += "<text x=\"\(width - 125)\" y=\"\(line)\">\(Self.escaped(contestant))</text>"
        }
        return svg + "</svg>"
    }

    static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }
}
