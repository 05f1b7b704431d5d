import Flotilla
import Foundation
import Testing

@testable import FlotillaBenchmarks

/// What `flotilla node run` is told about payloads: where large ones are, and how they are kept.
@Suite("flotilla node run --payload-store, --payload-keys, --compress-payloads", .timeLimit(.minutes(4)))
struct PayloadCommandTests {
    private static let keys = "2026 \(String(repeating: "1f", count: 32))  # the current one\n"
    /// Nothing that anybody would write by chance.
    private static let secret = "the-price-of-the-kettle-is-a-secret"

    @Test("a large result is kept by reference, encrypted, and loaded by another node after its owner was killed")
    func stored() async throws {
        let options = ["--payload-store", "{}/payloads", "--compress-payloads", "--payload-keys", "{}/keys"]
        try await CommandDesk.with("payloads", nodeArguments: options, files: ["keys": Self.keys]) { desk in
            let count = 5 << 20
            try await desk.start("video", ["store:\(count)", "signal", "load"])
            try await desk.wait("video", says: "waits for signal 'word'")
            let before = try await desk.json("workflow", "describe", "video", "--json")
            let step = try #require(before["steps"]?.items.first { $0["name"] == "store" })
            #expect(step["value"]?["size"] == .integer(Int64(count)))
            guard case .string(let name)? = step["value"]?["name"], case .integer(let owner)? = before["owner"] else {
                throw BenchError("nothing is stored: \(before)")
            }
            let files = try FileManager.default.contentsOfDirectory(atPath: "\(desk.directory)/payloads")
            #expect(files == [name])
            let bytes = try Data(contentsOf: URL(filePath: "\(desk.directory)/payloads/\(name)"))
            #expect(bytes.count < count / 10, "it is compressed")

            await desk.cluster.kill(Int(owner))
            let other = try #require(desk.cluster.nodes.first { $0 != Int(owner) })
            let api = await desk.cluster.api(other).address
            try await desk.flotilla(
                "workflow", "signal", "video", "word", "--value", "\"\(Self.secret)\"", "--http", api)
            let result = try await desk.json("workflow", "result", "video", "--http", api)
            #expect(result == [.string(Self.secret), .string("\(count) bytes")])
            let history = try await desk.json("workflow", "history", "video", "--http", api, "--json")
            let load = try #require(history["events"]?.items.first { $0["name"] == "load" })
            #expect(load["owner"] != .integer(owner))
            await desk.cluster.killAll()
            try expectNoSecret(in: desk.directory)
        }
    }

    /// None of what the nodes keep has it as it is.
    private func expectNoSecret(in directory: String) throws {
        var count = 0
        let files = try #require(FileManager.default.enumerator(atPath: directory))
        for case let file as String in files where file.contains("node-") && !file.hasSuffix(".log") {
            let path = "\(directory)/\(file)"
            var isDirectory: ObjCBool = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue else {
                continue
            }
            count += 1
            let bytes = try Data(contentsOf: URL(filePath: path))
            #expect(bytes.firstRange(of: Data(Self.secret.utf8)) == nil, "\(file) says it")
        }
        #expect(count > 2)
    }

    @Test("a node whose payload keys cannot be read does not start, and says why without the key")
    func wrongKeys() async throws {
        let key = String(repeating: "2e", count: 31)
        try await withScratch("flotilla-keys", contents: "The keys") { directory in
            let keys = "\(directory)/keys"
            try Data("2026 \(key)\n".utf8).write(to: URL(filePath: keys))
            for (path, reason) in [
                (keys, "line 1 is not an id and a key of 64 hexadecimal digits"),
                ("\(directory)/nothing", "cannot be read: No such file"),
            ] {
                let log = "\(directory)/log"
                let process = try ChildProcess(
                    path: try nodeExecutable(),
                    arguments: [
                        "node", "run", "--id", "1", "--listen", "127.0.0.1:0", "--memory", "--bootstrap",
                        "--payload-keys", path,
                    ], environment: [:], log: log)
                #expect(await process.wait(limit: CommandDesk.patience) == .exited(64))
                let text = try readText(log)
                #expect(text.contains("--payload-keys") && text.contains(reason) && !text.contains(key), "\(text)")
            }
        }
    }

    @Test("a run that stores something on a node without a payload store fails, and says what is missing")
    func noStore() async throws {
        try await CommandDesk.with("no-store") { desk in
            let failed = try await desk.refused(
                "workflow", "start", "sample_words", "--id", "video", "--input", #"["store:10"]"#, "--wait")
            #expect(failed.contains("video failed") && failed.contains("no payload store"), "\(failed)")
        }
    }
}
