import Flotilla
import Glibc

/// Does what its input says, a word each, and returns what came of them: so that every command can be tried on a run, as in
/// `flotilla workflow start sample_words --id a --input '["step:reserve", "signal", "awakeable"]'`.
///
/// - `step:NAME` records a step; `need:PATH` one that fails, twice, while there is no such file.
/// - `emit:TEXT` emits it, `sleep:MILLISECONDS` sleeps.
/// - `signal` waits for the signal `word`, `update` for the update `word`, which may not be empty, `awakeable` for the
///   completion of the token that the step `token` has recorded.
/// - `store:BYTES` keeps so many in the payload store, `load` reads them from there.
let sampleWords = Workflow("sample_words", version: 1) {
    (words: [String], context: WorkflowContext) async throws -> [String] in
    let said = context.variable([String]())
    context.answer(SampleMessages.said) { limit in Array(said.value.suffix(limit ?? .max)) }
    var stored: StoredPayload?
    for word in words {
        let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
        let argument = parts.count == 2 ? parts[1] : ""
        switch parts.first {
        case "step": said.append(try await context.step(argument) { _ in argument })
        case "need":
            said.append(try await context.step("need", retry: RetryPolicy(attempts: 2)) { _ in try need(argument) })
        case "emit": try await context.emit(argument)
        case "sleep": try await context.sleep(for: .milliseconds(Int(argument) ?? 0))
        case "signal": said.append(try await context.receive(SampleMessages.signal))
        case "update": said.append(try await update(context))
        case "awakeable":
            let answer = try await context.awakeable("answer", as: String.self)
            _ = try await context.step("token") { _ in answer.token }
            said.append(try await answer.value())
        case "store":
            let count = min(max(0, Int(argument) ?? 0), 64 << 20)
            stored = try await context.step("store") { try await $0.store(storedBytes(count)) }
        case "load":
            guard let stored else { throw SampleFailure(description: "nothing is stored") }
            said.append(
                try await context.step("load") { step in
                    let bytes = try await step.load(stored)
                    let isWhole = bytes == storedBytes(bytes.count)
                    return "\(bytes.count) bytes" + (isWhole ? "" : ", and not those that were stored")
                })
        default: throw SampleFailure(description: "'\(word)' is no word that can be done")
        }
    }
    return said.value
}

enum SampleMessages {
    static let signal = WorkflowSignal<String>("word")
    static let update = WorkflowUpdate<String, String>("word")
    /// How many words, of the last ones.
    static let said = WorkflowQuery<Int?, [String]>("said")
}

/// Durable objects that count: `flotilla object call counter page-7 add --input 1`.
let sampleCounter = DurableObject("counter", version: 1, initial: 0)
    .on(ObjectMethod<Int, Int>("add")) { (count: inout Int, amount: Int) in
        guard amount >= 0 else { throw SampleFailure(description: "a counter only rises") }
        count += amount
        return count
    }

struct SampleFailure: Error, CustomStringConvertible {
    var description: String
}

private func storedBytes(_ count: Int) -> [UInt8] { [UInt8](repeating: 7, count: count) }

private func need(_ path: String) throws -> String {
    guard access(path, F_OK) == 0 else { throw SampleFailure(description: "there is no \(path)") }
    return path
}

private func update(_ context: WorkflowContext) async throws -> String {
    while true {
        let request = try await context.receive(SampleMessages.update)
        guard !request.input.isEmpty else {
            try await request.reject("a word has letters")
            continue
        }
        try await request.reply("\(request.input), indeed")
        return request.input
    }
}

extension RunVariable where Value == [String] {
    fileprivate func append(_ text: String) { update { $0.append(text) } }
}
