/// Sees every attempt at a step, before its body and behind it, and lets it fail by throwing.
package typealias StepInterception =
    @Sendable (_ moment: StepMoment, _ workflowID: String, _ step: String) throws -> Void

package enum StepMoment: Sendable {
    case begins
    /// The body has returned; what it returned is not recorded yet.
    case hasReturned
}

extension WorkflowContext {
    func intercepting<Result>(_ step: String, _ body: () async throws -> Result) async throws -> Result {
        guard let interception else { return try await body() }
        try interception(.begins, workflowID, step)
        let result = try await body()
        try interception(.hasReturned, workflowID, step)
        return result
    }
}

extension WorkflowDefinition {
    package func intercepted(by interception: @escaping StepInterception) -> WorkflowDefinition {
        WorkflowDefinition(type: type, contentType: contentType) { [run] input, context in
            var context = context
            context.interception = interception
            return try await run(input, context)
        }
    }
}
