import FlotillaActors

/// How busy a node is.
struct InspectNode: NodeLevelRequest {
    struct Reply: Codable, Sendable {
        /// The share of the machine's capacity that is in use, from 0 to 1.
        var load: Double
    }
    static let name = "inspectNode"
    var patience: Duration { .seconds(1) }

    func perform(on services: NodeServices) async throws -> Reply { Reply(load: services.environment.load()) }
}
