import FlotillaIO
import Glibc
import Testing

/// Other tests run in this process at the same time, so plain counts say nothing. Threads are told
/// apart by name, and descriptors by number: what leaks one in each of many rounds is more than all
/// other tests hold together.
@Suite struct LeakTests {
    private static let rounds = 200

    @Test("stopping everything gives back every thread and every descriptor")
    func stopAll() async throws {
        let before = names(in: "/proc/self/fd").count
        for round in 0..<Self.rounds { try await startAndStop("leak-\(round)") }
        // Other tests close theirs when they end, and the thread that runs jobs of a loop that has ended ends on its own,
        // soon; what leaked stays.
        let clock = EventLoop()
        let deadline = clock.now.advanced(by: .seconds(240))
        while true {
            let (threads, descriptors) = (threads("leak-"), names(in: "/proc/self/fd").count - before)
            if threads == 0, descriptors < Self.rounds { break }
            try #require(clock.now < deadline, "\(threads) threads and \(descriptors) descriptors stay")
            await offPool { _ = usleep(1000) }
        }
    }

    /// A server, a worker, a listener with a connection, and a client that stays; everything is
    /// still open when the loop stops.
    private func startAndStop(_ name: String) async throws {
        let loop = EventLoop(name: name)
        try loop.start()
        let worker = try ThreadWorker(name: name + "-w")
        let network = TCPNetwork(idleTimeout: .seconds(3_600))
        let recorder = Recorder()
        let listener = try await loop.run { () throws(NetworkError) in
            try network.listen(on: "127.0.0.1:0", loop: loop) { $0.delegate = recorder }
        }
        let client = Recorder()
        let connection = await loop.run {
            network.connect(to: listener.address, loop: loop, delegate: client)
        }
        _ = await client.heard.wait(for: 1)
        let server = try await HTTPServer.start(on: "127.0.0.1:0", loop: loop, limits: .patient, handler: echo)
        let raw = try RawClient(to: server.address)
        await withTaskGroup { group in
            group.addTask { await server.run() }
            raw.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(await raw.readSome().count > 0)
            await worker.shutdown()
            await loop.shutdown()
        }
        #expect(await loop.run { connection.send([1]) } == false)
        #expect(client.heard.values.last == .closed(.shutDown))
    }

    private func threads(_ prefix: String) -> Int {
        names(in: "/proc/self/task").count {
            text(of: "/proc/self/task/\($0)/comm").hasPrefix(prefix)
        }
    }

    private func names(in directory: String) -> [String] {
        guard let handle = opendir(directory) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    private func text(of path: String) -> String {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(file, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
