import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FoundationEssentials

/// What a node of the benchmark takes over a client's connection: the body of a command for one of its groups. The
/// answer comes when it is applied.
enum ClientProposal {
    static let name = "propose"

    static func encode(_ group: GroupID, _ body: [UInt8]) -> [UInt8] {
        var writer = ProtobufWriter(reservingCapacity: body.count + 16)
        writer.varint(1, group.rawValue)
        writer.bytes(2, body)
        return writer.bytes
    }

    /// On the loop.
    static func take(_ call: ClientCall, _ core: NodeCore) {
        do {
            var (group, body) = (UInt64(0), [UInt8]())
            var reader = ProtobufReader(call.body)
            while let field = try reader.next() {
                switch field {
                case 1: group = try reader.varint()
                case 2: body = try reader.bytes()
                default: try reader.skip()
                }
            }
            guard call.name == name, let group = core.hosted[GroupID(group)] else {
                throw BenchError("there is no request '\(call.name)' for group \(group)")
            }
            group.propose([Operation(type: 1, version: 1, body: body)], ownerEpoch: 0) { result in
                call.answer(result.map(\.body))
            }
        } catch {
            call.answer(.failure(error))
        }
    }
}

/// `flotilla-bench group-client`: the load of `flotilla-bench group --client process`, over one connection.
enum GroupClient {
    static let command = CommandDescription(
        "flotilla-bench group-client",
        summary: "The load of 'group --client process', which starts it.",
        options: [
            .value("address", "HOST:PORT", "where the node takes clients"),
            .value("group", "N", "the group that is worked"),
            .value("load", "JSON", "what it is given"),
        ])

    static func run(_ options: ParsedOptions) async throws {
        guard let address = options.string("address"), let group = try options.number("group", in: 1...UInt64.max),
            let load = options.string("load").flatMap({ try? JSONDecoder().decode(GroupLoad.self, from: Data($0.utf8)) }
            )
        else { throw options.fail("all options have to be given") }
        let body = ClientProposal.encode(GroupID(group), Array(repeating: 7, count: load.bytes))
        let result = try await withFlotillaClient([address]) { client in
            async let said: Void = {
                try await Task.sleep(for: load.warmup)
                Terminal.writeLine("measuring")
            }()
            let result = try await load.run { _ in
                _ = try await client.request(ClientProposal.name, body, isRepeatable: false)
            }
            try await said
            return result
        }
        Terminal.writeLine(result.line)
    }
}

extension LoadResult {
    /// As load programs write it: one line of JSON.
    var line: String {
        "{\"operations\":\(operations),\"seconds\":\(seconds),\"p50\":\(p50),\"p99\":\(p99),\"p999\":\(p999),"
            + "\"most\":\(most)}"
    }

    /// The result at the end of what a load program wrote; nil where it has not come so far.
    init?(endOf log: String) {
        guard let text = try? readText(log), text.hasSuffix("}\n"), let line = text.split(separator: "\n").last,
            line.hasPrefix("{\"operations\""),
            let result = try? JSONDecoder().decode(LoadResult.self, from: Data(line.utf8))
        else { return nil }
        self = result
    }
}
