/// One history of a scenario: the same case is the same history, in every process and build.
package struct ScenarioCase: Hashable, Sendable {
    package var scenario: String
    package var seed: UInt64
    /// For how many seconds of virtual time clients ask and faults happen.
    package var load: Int
    /// The numbers of the faults that do happen; nil for all that the seed gave.
    package var faults: [Int]?

    /// What histories last, unless somebody shortens them.
    package static let usualLoad = 60

    package init(_ scenario: String, seed: UInt64, load: Int = usualLoad, faults: [Int]? = nil) {
        self.scenario = scenario
        self.seed = seed
        self.load = load
        self.faults = faults
    }

    /// "1,4,9", or "none".
    package static func text(of faults: [Int]) -> String {
        faults.isEmpty ? "none" : faults.map(String.init).joined(separator: ",")
    }

    package static func faults(in text: some StringProtocol) -> [Int]? {
        if text == "none" { return [] }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { Int($0) }
        return numbers.count == parts.count && numbers.allSatisfy { $0 >= 0 } ? numbers : nil
    }
}

extension ScenarioCase: LosslessStringConvertible {
    /// "registers 17 60 all", as processes tell it each other.
    package var description: String {
        "\(scenario) \(seed) \(load) \(faults.map(Self.text(of:)) ?? "all")"
    }

    package init?(_ description: String) {
        let words = description.split(separator: " ")
        guard words.count == 4, let seed = UInt64(words[1]), let load = Int(words[2]), load > 0 else { return nil }
        var faults: [Int]?
        if words[3] != "all" {
            guard let numbers = Self.faults(in: words[3]) else { return nil }
            faults = numbers
        }
        self.init(String(words[0]), seed: seed, load: load, faults: faults)
    }
}
