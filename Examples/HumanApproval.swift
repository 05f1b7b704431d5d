import Flotilla

/// A payment that a person allows. The run waits for days without a process that waits for it; who answers needs the
/// token and nothing else, for instance as a link in a mail: `POST /v1/awakeables/{token}`.
struct HumanApproval: Example {
    static let name = "human-approval"
    static let summary = "a run that waits for a person, for three days at most"

    struct Decision: Codable, Sendable {
        var isAllowed: Bool
        var by: String
    }

    /// Where the tokens go: a mail server in real life.
    let mailbox = AsyncStream<String>.makeStream(bufferingPolicy: .bufferingNewest(16))
    var workflows: [any RegisterableWorkflow] { [workflow] }

    /// - Returns: of the workflow: what became of a payment of so many cents.
    var workflow: Workflow<Int, String> {
        Workflow("payment_approval", version: 1) {
            [mailbox = mailbox.continuation] (cents: Int, context: WorkflowContext) async throws -> String in
            let approval = try await context.awakeable("approval", as: Decision.self)
            try await context.step("ask") { _ in _ = mailbox.yield(approval.token) }
            guard let decision = try await approval.value(within: .seconds(3 * 86_400)) else {
                return "\(cents) cents: nobody answered"
            }
            guard decision.isAllowed else { return "\(cents) cents: refused by \(decision.by)" }
            return try await context.step("pay") { _ in "\(cents) cents: paid, allowed by \(decision.by)" }
        }
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        let payment = try await node.start(workflow, id: "payment-1", input: 120_000)
        guard let token = await mailbox.stream.first(where: { _ in true }) else { throw CancellationError() }
        say("payment-1 has asked; POST /v1/awakeables/{token} would answer, as this program does now")
        try await node.resolve(token, Decision(isAllowed: true, by: "ann"))
        say("payment-1: \(try await payment.result())")
    }
}
