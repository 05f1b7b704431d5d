import Flotilla
import FlotillaIO

// Steps that fail because the scenario says so.

/// What a step of a simulation throws that was told to fail.
public struct StepFailedByScenario: Error, Hashable, Sendable, CustomStringConvertible {
    /// The step's name.
    public var step: String
    public var description: String { "step '\(step)' fails, as the scenario says" }
}

extension SimulatedCluster {
    /// Lets the next attempts at steps of a name fail, whichever node makes them.
    ///
    /// ```swift
    /// simulation.failStep("charge", times: 2)                       // as if the bank did not answer
    /// simulation.failStep("charge", afterItsEffect: true)           // it did, and the answer is lost
    /// ```
    /// A step with a `RetryPolicy` is tried again; of others the body of the workflow gets the error.
    /// - Parameters:
    ///   - workflowID: whose steps; nil for those of any run.
    ///   - times: how many attempts fail.
    ///   - afterItsEffect: whether the step's body runs first, and what it returns is lost.
    ///   - error: what is thrown; nil takes a `StepFailedByScenario`.
    public func failStep(
        _ name: String, of workflowID: String? = nil, times: Int = 1, afterItsEffect: Bool = false,
        throwing error: (any Error)? = nil
    ) {
        guard times > 0 else { return fail("step '\(name)' cannot fail \(times) times") }
        stepFaults.add(
            StepFaults.Fault(
                step: name, workflowID: workflowID, left: times, moment: afterItsEffect ? .hasReturned : .begins,
                error: error ?? StepFailedByScenario(step: name)))
        note("the next \(times) attempts at step '\(name)' are to fail", node: nil)
    }
}

/// The faults that have not happened yet.
final class StepFaults: Sendable {
    struct Fault {
        var step: String
        var workflowID: String?
        var left: Int
        var moment: StepMoment
        var error: any Error
    }

    private let faults = Lock<[Fault]>([])

    func add(_ fault: Fault) { faults.withLock { $0.append(fault) } }

    /// - Throws: the error of the first fault that fits, which happens by this.
    func meet(_ moment: StepMoment, _ workflowID: String, _ step: String) throws {
        let error: (any Error)? = faults.withLock { faults in
            let found = faults.firstIndex { fault in
                fault.moment == moment && fault.step == step && fault.workflowID ?? workflowID == workflowID
            }
            guard let found else { return nil }
            faults[found].left -= 1
            return faults[found].left == 0 ? faults.remove(at: found).error : faults[found].error
        }
        if let error { throw error }
    }
}
