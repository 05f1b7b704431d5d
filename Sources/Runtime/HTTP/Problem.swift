/// An error as HTTP tells it: `application/problem+json` (RFC 9457).
struct Problem: Error, Hashable, Sendable {
    /// A name that programs can rely on, such as "urn:flotilla:conflict".
    var type: String
    var title: String
    /// The HTTP status.
    var status: Int
    /// What was wrong this time, and what to do.
    var detail: String

    /// What 405 answers in `Allow`.
    var allowedMethods: String?
    /// For requests that may be sent again: after how many seconds.
    var retryAfter: Int? {
        switch status {
        case 503: 1
        case 429: 5
        default: nil
        }
    }

    init(_ name: String, _ title: String, status: Int, _ detail: String) {
        type = "urn:flotilla:" + name
        self.title = title
        self.status = status
        self.detail = detail
    }

    static func badRequest(_ detail: String) -> Problem {
        Problem("bad-request", "The request cannot be understood", status: 400, detail)
    }
    static func notFound(_ detail: String) -> Problem {
        Problem("not-found", "Not found", status: 404, detail)
    }
    static func methodNotAllowed(_ method: String, allowed: [String]) -> Problem {
        let allowed = allowed.joined(separator: ", ")
        var problem = Problem(
            "method-not-allowed", "Method not allowed", status: 405,
            "this path takes \(allowed), not \(method)")
        problem.allowedMethods = allowed
        return problem
    }
    static func conflict(_ detail: String) -> Problem {
        Problem("conflict", "The id is taken", status: 409, detail)
    }
    static func wrongState(_ detail: String) -> Problem {
        Problem("wrong-state", "The workflow's state does not allow it", status: 409, detail)
    }
    static func refused(_ detail: String) -> Problem {
        Problem("refused", "The state of the fleet does not allow it", status: 409, detail)
    }
    static func tooLarge(_ detail: String) -> Problem {
        Problem("too-large", "Too large", status: 413, detail)
    }
    static func unprocessable(_ detail: String) -> Problem {
        Problem("unprocessable", "The request cannot be carried out", status: 422, detail)
    }
    static func tooMany(_ detail: String) -> Problem {
        Problem("too-many-workflows", "Too many workflows have not ended", status: 429, detail)
    }
    static func unavailable(_ detail: String) -> Problem {
        Problem("unavailable", "Not available now", status: 503, detail)
    }
}
