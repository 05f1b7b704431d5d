import FlotillaIO
import Glibc
import Testing

@Suite struct ThreadWorkerTests {
    @Test("work runs off the loop and in order, completions on the loop and in order")
    func order() async throws {
        try await withLoop { loop in
            let worker = try ThreadWorker()
            let worked = Collector<Int>()
            let completed = Collector<Int>()
            for number in 0..<500 {
                worker.submit(
                    {
                        #expect(!loop.isOnLoop)
                        worked.append(number)
                    },
                    then: {
                        loop.preconditionOnLoop()
                        completed.append(number)
                    }, on: loop)
            }
            #expect(await completed.wait(for: 500) == Array(0..<500))
            #expect(worked.values == Array(0..<500))
            await worker.shutdown()
        }
    }

    @Test("shutting down finishes what was submitted, drops what comes later, and may be repeated")
    func shutdown() async throws {
        try await withLoop { loop in
            let worker = try ThreadWorker()
            let worked = Collector<Int>()
            for number in 0..<100 {
                worker.submit({ worked.append(number) }, then: {}, on: loop)
            }
            async let again: Void = worker.shutdown()
            await worker.shutdown()
            await again
            #expect(worked.values == Array(0..<100))
            worker.submit({ worked.append(-1) }, then: {}, on: loop)
            await worker.shutdown()
            #expect(worked.values.count == 100)
        }
    }

    @Test("the thread bears its name")
    func name() async throws {
        try await withLoop { loop in
            let worker = try ThreadWorker(name: "a-name-longer-than-fits")
            let seen = Collector<String>()
            worker.submit(
                {
                    let file = open("/proc/thread-self/comm", O_RDONLY)
                    var bytes = [UInt8](repeating: 0, count: 32)
                    let count = read(file, &bytes, bytes.count)
                    close(file)
                    seen.append(String(decoding: bytes.prefix(max(0, count)), as: UTF8.self))
                }, then: {}, on: loop)
            #expect(await seen.wait(for: 1) == ["a-name-longer-t\n"])
            await worker.shutdown()
        }
    }
}
