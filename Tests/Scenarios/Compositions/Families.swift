import Flotilla
import FlotillaIO

/// Workflows that have to do with each other, and what their steps did outside of the fleet.
struct Families: Sendable {
    /// What a parent goes on with in its next execution.
    struct Parent: Codable, Sendable {
        var number: Int
        var execution = 1
        var sum = 0
    }

    static let tallyCount = 2
    private static let executionCount = 2
    private static let childNames = ["a", "b"]
    /// A new execution begins after so many signals.
    private static let signalsPerExecution = 7
    /// What ends a tally.
    static let enough = -1
    static let heard = WorkflowSignal<Int>("heard")

    let leaf: Workflow<Int, Int>
    let tally: Workflow<[Int], [Int]>
    let parent: Workflow<Parent, Int>
    var all: [any RegisterableWorkflow] { [leaf, tally, parent] }

    init(_ steps: StepLog) {
        let leaf = Workflow<Int, Int>("leaf", version: 1) { number, context in
            try await context.sleep(for: .milliseconds(Int64(number % 5) * 250))
            return try await context.step("work") { step in
                steps.add(context.workflowID, step)
                return number * 2
            }
        }
        self.leaf = leaf
        tally = Workflow("tally", version: 1) { known, context in
            var numbers = known
            for _ in 0..<Self.signalsPerExecution {
                let number = try await context.receive(Self.heard)
                guard number != Self.enough else { return numbers }
                numbers.append(number)
            }
            try await context.continueAsNew(numbers)
        }
        parent = Workflow("parent", version: 1) { state, context in
            let number = state.number
            let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                for name in Self.childNames {
                    group.addTask { try await context.child(leaf, name: name, input: number).result() }
                }
                return try await group.reduce(state.sum, +)
            }
            try await context.signal(
                Self.tallyID(of: number), Self.heard, Self.signal(of: number, execution: state.execution))
            guard state.execution < Self.executionCount else { return sum }
            // It goes on when its parent does.
            _ = try await context.child(leaf, name: "left", input: number, whenParentEnds: .abandon)
            try await context.continueAsNew(Parent(number: number, execution: state.execution + 1, sum: sum))
        }
    }

    static func id(of parent: Int) -> String { "parent-\(parent)" }
    static func tallyID(_ number: Int) -> String { "tally-\(number)" }
    private static func tallyID(of parent: Int) -> String { tallyID(parent % tallyCount) }
    private static func signal(of parent: Int, execution: Int) -> Int { parent * 10 + execution }

    // MARK: What must come of it

    static func result(of parent: Int) -> Int { executionCount * childNames.count * parent * 2 }

    static func signals(of parent: Int) -> [Int] { (1...executionCount).map { signal(of: parent, execution: $0) } }

    /// The workflow ids of a parent's children, whose steps log under them.
    static func children(of parent: Int) -> [String] {
        let first = (childNames + ["left"]).map { "\(id(of: parent))/\($0)/0" }
        return (2...executionCount).reduce(first) { children, execution in
            children + childNames.map { "\(id(of: parent))/\(execution).\($0)/0" }
        }
    }

    /// Whether a tally has heard all that it must, and nothing twice.
    /// - Parameters:
    ///   - started: parents that may have begun.
    ///   - ended: those that have completed.
    static func check(tally number: Int, heard: [Int], started: Set<Int>, ended: Set<Int>) throws(ScenarioFailure) {
        let known = Set(heard)
        guard known.count == heard.count else { throw ScenarioFailure("tally \(number) heard twice: \(heard)") }
        func expected(_ parents: Set<Int>) -> Set<Int> {
            Set(parents.filter { $0 % tallyCount == number }.flatMap(signals(of:)))
        }
        let missing = expected(ended).subtracting(known)
        guard missing.isEmpty else { throw ScenarioFailure("tally \(number) has not heard \(missing.sorted())") }
        let strange = known.subtracting(expected(started))
        guard strange.isEmpty else { throw ScenarioFailure("tally \(number) heard \(strange.sorted()) of nobody") }
    }
}
