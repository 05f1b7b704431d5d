/// Looks for the shortest history that still fails.
package enum Shrinking {
    /// Loads in seconds that are tried, the shortest first.
    private static let loads = [1, 2, 5, 10, 20, 30, 45]

    /// Shortens the load, then leaves out faults, then shortens the load again, as long as some failure is left.
    ///
    /// Faults are left out in ever smaller portions, in the end one by one, after which no single one can be spared
    /// (delta debugging: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002).
    /// - Parameters:
    ///   - failing: a case that fails.
    ///   - faults: the numbers of its faults that start within a load of so many seconds.
    ///   - runs: at most so many histories are tried.
    ///   - isFailing: runs a case.
    package static func shortest(
        of failing: ScenarioCase, faults: (_ load: Int) -> [Int], runs: Int,
        isFailing: (ScenarioCase) throws -> Bool
    ) rethrows -> ScenarioCase {
        var left = runs
        var best = failing
        func fails(_ candidate: ScenarioCase) throws -> Bool {
            guard left > 0 else { return false }
            left -= 1
            return try isFailing(candidate)
        }
        func shortenLoad() throws {
            for load in loads where load < best.load {
                var candidate = best
                candidate.load = load
                candidate.faults = best.faults.map { kept in kept.filter(Set(faults(load)).contains) }
                if try fails(candidate) {
                    best = candidate
                    return
                }
            }
        }
        try shortenLoad()
        best.faults = best.faults ?? faults(best.load)
        var portion = best.faults!.count
        while portion > 0 {
            var place = 0
            while place < best.faults!.count {
                var candidate = best
                candidate.faults!.removeSubrange(place..<min(place + portion, candidate.faults!.count))
                if try fails(candidate) { best = candidate } else { place += portion }
            }
            portion /= 2
        }
        try shortenLoad()
        return best
    }
}
