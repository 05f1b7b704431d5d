// How a run's end travels between nodes.

extension WorkflowOutcome: Codable {
    private struct Coded: Codable {
        var status: WorkflowStatus
        @Base64 var output: [UInt8]?
        var failure: WorkflowFailure?
        var reason: String?
    }

    public func encode(to encoder: any Encoder) throws {
        let coded =
            switch self {
            case .completed(let output): Coded(status: .completed, output: output)
            case .failed(let failure): Coded(status: .failed, output: nil, failure: failure)
            case .cancelled(let reason): Coded(status: .cancelled, output: nil, reason: reason)
            case .terminated(let reason): Coded(status: .terminated, output: nil, reason: reason)
            case .continued: Coded(status: .continued, output: nil)
            }
        try coded.encode(to: encoder)
    }

    public init(from decoder: any Decoder) throws {
        let coded = try Coded(from: decoder)
        switch coded.status {
        case .completed: self = .completed(coded.output ?? [])
        case .failed: self = .failed(coded.failure ?? WorkflowFailure(type: "", message: ""))
        case .cancelled: self = .cancelled(reason: coded.reason ?? "")
        case .terminated: self = .terminated(reason: coded.reason ?? "")
        case .continued: self = .continued
        case .running, .parked, .paused:
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "a run that is \(coded.status) has no outcome"))
        }
    }
}
