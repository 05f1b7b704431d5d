/// What a figure is to be, and whether it is.
struct Goal: Sendable {
    var title: String
    var ours: Reading
    var yardstick = Yardstick.none
    var bound: Bound

    /// A figure of a report.
    struct Reading: Sendable {
        var scenario: String
        var figure: String
        var setting = ""
        var contestant = Report.ours
        /// The 99th percentile of the samples, and not their median.
        var isTail = false
        /// Into the unit of the figure that it stands beside.
        var scale = 1.0
    }

    /// What ours is held against.
    enum Yardstick: Sendable {
        /// The bound is in the figure's own unit.
        case none
        /// The best of these; the bound is a ratio.
        case best([Reading])
        /// All of these together; the bound is a ratio.
        case sum([Reading])
    }

    enum Bound: Sendable {
        case atLeast(Double)
        case atMost(Double)

        func holds(_ value: Double) -> Bool {
            switch self {
            case .atLeast(let least): value >= least
            case .atMost(let most): value <= most
            }
        }

        var text: String {
            switch self {
            case .atLeast(let least): "at least \(rounded(least, 2))"
            case .atMost(let most): "at most \(rounded(most, 2))"
            }
        }
    }

    /// What was measured of it.
    struct Finding: Hashable, Sendable {
        var ours: Double
        /// Of the yardstick, in the same unit.
        var theirs: Double?
        /// The median of the ratios round by round, where both were measured in the same rounds.
        var ratio: Double?
        var isMet: Bool
    }

    /// - Returns: nil where one of the figures was not measured.
    func finding(in reports: [Report]) -> Finding? {
        guard let mine = ours.samples(in: reports) else { return nil }
        let value = ours.value(mine.samples)
        switch yardstick {
        case .none: return Finding(ours: value, isMet: bound.holds(value))
        case .best(let readings):
            let others = readings.compactMap { reading in reading.samples(in: reports).map { (reading, $0) } }
            let isHigher = others.first?.1.isBetterHigher ?? true
            let best = others.max { a, b in
                let (a, b) = (a.0.value(a.1.samples), b.0.value(b.1.samples))
                return isHigher ? a < b : a > b
            }
            guard let (reading, found) = best else { return nil }
            return finding(
                value, mine.samples, theirs: reading.value(found.samples), found.samples.map { $0 * reading.scale })
        case .sum(let readings):
            let others = readings.compactMap { reading in reading.samples(in: reports).map { reading.value($0.samples) }
            }
            guard others.count == readings.count else { return nil }
            return finding(value, mine.samples, theirs: others.reduce(0, +), [])
        }
    }

    private func finding(_ value: Double, _ mine: [Double], theirs: Double, _ samples: [Double]) -> Finding? {
        guard theirs > 0 else { return nil }
        let isPaired = mine.count == samples.count && samples.allSatisfy { $0 > 0 } && !ours.isTail
        let ratio = isPaired ? Statistics.median(zip(mine, samples).map { $0 / $1 }) ?? 0 : value / theirs
        return Finding(ours: value, theirs: theirs, ratio: ratio, isMet: bound.holds(ratio))
    }
}

extension Goal.Reading {
    fileprivate func samples(in reports: [Report]) -> Report.Measure? {
        reports.lazy.filter { $0.scenario == scenario }
            .compactMap { $0.measure(figure, setting, of: contestant) }.first { !$0.samples.isEmpty }
    }

    fileprivate func value(_ samples: [Double]) -> Double {
        (Statistics.percentile(isTail ? 99 : 50, of: samples) ?? 0) * scale
    }
}
