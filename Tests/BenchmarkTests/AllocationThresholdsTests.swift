import Testing

@testable import FlotillaBenchmarks

@Suite("Allocation thresholds")
struct AllocationThresholdsTests {
    private static let thresholds = AllocationThresholds(["core": 10, "codec": 0, "log": 0.5])

    @Test("counts at the threshold and up to 5 % above pass, and what is above fails by name")
    func tolerance() {
        #expect(Self.thresholds.complaints(about: ["core": 10, "codec": 0, "log": 0.5]) == [])
        #expect(Self.thresholds.complaints(about: ["core": 10.5, "codec": 0, "log": 0.1]) == [])
        let complaints = Self.thresholds.complaints(about: ["core": 10.6, "codec": 0.01, "log": 0.5])
        #expect(complaints.count == 2)
        #expect(complaints[0].hasPrefix("codec allocates 0.01 times") && complaints[1].hasPrefix("core allocates 10.6"))
    }

    @Test("what has no threshold, and a threshold of what is gone, are named")
    func unknown() {
        let complaints = Self.thresholds.complaints(about: ["core": 1, "codec": 0, "new": 3])
        #expect(
            complaints == ["new has no threshold; record one", "log has a threshold and was not measured; remove it"])
    }

    @Test("what is recorded is read back, and nonsense is refused")
    func text() throws {
        #expect(try AllocationThresholds(text: Self.thresholds.text) == Self.thresholds)
        for line in ["core", "core ten", "core 1 2", "core -1"] {
            #expect(throws: BenchError.self) { try AllocationThresholds(text: "log 1\n\(line)\n") }
        }
    }
}
