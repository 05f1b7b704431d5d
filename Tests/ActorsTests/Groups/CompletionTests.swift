import FlotillaActors
import Testing

@Suite struct CompletionTests {
    private struct Failure: Error {}

    @Test("the first answer counts, whether it comes before the wait or is an error")
    func firstAnswer() async throws {
        let early = Completion<Int>()
        #expect(!early.isFinished)
        early.finish(.success(1))
        early.finish(.success(2))
        #expect(early.isFinished)
        #expect(try await early.wait() == 1)
        let failed = Completion<Int>()
        failed.finish(.failure(Failure()))
        await #expect(throws: Failure.self) { try await failed.wait() }
    }

    @Test("a completion whose waiter was cancelled is finished: nobody wants its answer")
    func cancelled() async {
        let completion = Completion<Int>()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await #expect(throws: CancellationError.self) { try await completion.wait() }
            }
            group.cancelAll()
        }
        #expect(completion.isFinished)
        completion.finish(.success(1))
        await #expect(throws: CancellationError.self) { try await completion.wait() }
    }
}
