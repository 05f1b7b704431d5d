extension WorkflowContext {
    /// Sets attributes of the run, by which lists find it; nil takes one away. Recorded, like a step.
    ///
    /// ```swift
    /// try await context.setAttributes(["stage": "paid", "clerk": nil])
    /// ```
    /// - Parameter name: branches that run in parallel use names of their own.
    /// - Throws: `WorkflowError` with `invalidAttribute` where a name or a value is not allowed, or there would be more
    ///   than `WorkflowLimits.attributesMax`; `CancellationError`.
    public func setAttributes(_ changes: [String: String?], name: String = "") async throws {
        try await execution.setAttributes(changes, name: name)
    }
}

extension RunExecution {
    func setAttributes(_ changes: [String: String?], name: String) async throws {
        if !name.isEmpty { try checkName(name) }
        try RunAttributes.check(changes)
        let step = try count(name.isEmpty ? "$attributes" : "$attributes/\(name)", counter: \.steps)
        if recorded.steps[step] != nil { return meet(.step, step) }
        try await replay?.end(.step, step)
        let encoded = changes.map { (ByteText($0.key), $0.value.map { ByteText($0) }) }
        do {
            _ = try await propose(
                .composition(.setAttributes(address, step, Dictionary(uniqueKeysWithValues: encoded))))
        } catch let refused as Refused where refused.code == .invalidAttribute {
            throw WorkflowError(.invalidAttribute, refused.message)
        }
    }
}
