import FlotillaScenarios
import Glibc

/// Runs cases on several worker processes.
struct WorkerPool {
    private final class Slot {
        var process: WorkerProcess?
        var instance: ScenarioCase?
        var startedAt = ContinuousClock.now
    }
    private let slots: [Slot]

    /// A history that takes longer in real time is stuck in one step: its worker is killed.
    static let realTimeLimit: Duration = .seconds(180)

    init(count: Int) { slots = (0..<count).map { _ in Slot() } }

    /// Runs all cases, in no particular order of their ends.
    /// - Parameter body: told each outcome; false stops handing out cases, those under way are abandoned.
    func run(
        _ cases: some Sequence<ScenarioCase>, _ body: (ScenarioCase, Outcome) throws -> Bool
    ) throws {
        var rest = cases.makeIterator()
        while true {
            for slot in slots where slot.instance == nil {
                guard let instance = rest.next() else { break }
                try start(instance, slot)
            }
            let busy = slots.filter { $0.instance != nil }
            if busy.isEmpty { return }
            for (slot, outcome) in wait(for: busy) {
                let instance = slot.instance!
                slot.instance = nil
                guard try body(instance, outcome) else {
                    for slot in slots where slot.instance != nil {
                        slot.process = nil
                        slot.instance = nil
                    }
                    return
                }
            }
        }
    }

    /// Runs one case.
    func run(_ instance: ScenarioCase) throws -> Outcome {
        var result: Outcome?
        try run(CollectionOfOne(instance)) { _, outcome in
            result = outcome
            return true
        }
        return result!
    }

    private func start(_ instance: ScenarioCase, _ slot: Slot) throws {
        if slot.process == nil { slot.process = try WorkerProcess() }
        slot.instance = instance
        slot.startedAt = .now
        slot.process!.send(instance.description)
    }

    private func wait(for slots: [Slot]) -> [(Slot, Outcome)] {
        var polled = slots.map { pollfd(fd: $0.process!.output, events: Int16(POLLIN), revents: 0) }
        _ = poll(&polled, nfds_t(polled.count), 1_000)
        var outcomes: [(Slot, Outcome)] = []
        for (slot, result) in zip(slots, polled) {
            if result.revents != 0 {
                guard let outcome = slot.process!.receive() else { continue }
                if slot.process!.hasEnded { slot.process = nil }
                outcomes.append((slot, outcome))
            } else if slot.startedAt.duration(to: .now) > Self.realTimeLimit {
                slot.process = nil
                outcomes.append((slot, .failed("no end within \(Self.realTimeLimit) of real time")))
            }
        }
        return outcomes
    }
}
