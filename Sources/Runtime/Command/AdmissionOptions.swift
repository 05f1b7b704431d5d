import FlotillaIO

/// What `flotilla node run` says of how much the node takes on.
enum AdmissionOptions {
    static let options: [CommandDescription.Option] = [
        .value("max-running", "N", "refuse starts while so many workflows have not ended (default: no limit)"),
        .value("max-running-of", "TYPE=N,...", "the same by type"),
        .value("max-requests", "N", "starts and messages that may wait in this node (default: 10000)"),
        .value("max-request-bytes", "BYTES", "their bytes (default: 268435456)"),
        .value(
            "max-memory", "BYTES",
            "refuse the same above so much memory of this process (default: four fifths of what there is)"),
    ]

    static func limits(_ options: ParsedOptions) throws(UsageError) -> AdmissionLimits {
        var limits = AdmissionLimits()
        limits.workflows = try options.number("max-running", in: 1...UInt64(Int.max)).map { Int($0) }
        for text in (options.string("max-running-of") ?? "").split(separator: ",") {
            let parts = text.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, let number = Int(parts[1]), number > 0 else {
                throw options.fail("--max-running-of \(text): write TYPE=N, with a number from 1 on")
            }
            guard limits.workflowsByType.updateValue(number, forKey: String(parts[0])) == nil else {
                throw options.fail("--max-running-of names \(parts[0]) twice")
            }
        }
        if let requests = try options.number("max-requests", in: 1...UInt64(Int.max)) {
            limits.requests = Int(requests)
        }
        if let bytes = try options.number("max-request-bytes", in: 1...UInt64(Int.max)) {
            limits.requestBytes = Int(bytes)
        }
        if let bytes = try options.number("max-memory", in: 1...UInt64(Int.max)) { limits.memoryBytes = Int(bytes) }
        return limits
    }
}
