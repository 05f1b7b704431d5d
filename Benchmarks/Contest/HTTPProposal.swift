import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FoundationEssentials

/// What a node of the benchmark takes over HTTP: the body of a command for one of its groups, as JSON. The answer comes when
/// it is applied.
struct HTTPProposal: Codable, Sendable {
    static let path = "/propose"

    struct Answer: Codable, Sendable { var body: Data }

    var group: UInt64
    var body: Data

    static func respond(to request: HTTPRequest, _ core: NodeCore) async throws -> HTTPResponse {
        guard let proposal = try? JSONDecoder().decode(HTTPProposal.self, from: Data(request.body)) else {
            return .problem(status: 400, detail: "the body has to be {\"group\":NUMBER,\"body\":BASE64}")
        }
        guard let group = core.hosted[GroupID(proposal.group)] else {
            return .problem(status: 404, detail: "there is no group \(proposal.group)")
        }
        let result = try await group.propose(
            [Operation(type: 1, version: 1, body: Array(proposal.body))], ownerEpoch: 0)
        return HTTPResponse(status: 200, body: Array(try JSONEncoder().encode(Answer(body: Data(result.body)))))
    }
}
