import CHTTPParser

/// The bytes that the bodies of all requests of a server may take. On its loop.
final class HTTPBodyBudget {
    private(set) var used = 0
    private let most: Int

    init(_ most: Int) { self.most = most }

    func take(_ count: Int) -> Bool {
        guard used + count <= most else { return false }
        used += count
        return true
    }

    func give(_ count: Int) { used -= count }
}

/// Finds the requests in a connection's bytes, one at a time, by Debian's http-parser. Nothing else
/// knows which parser it is.
final class HTTPRequestParser {
    /// Of request line and headers together; above it 431.
    static let headBytesMax = 16 * 1024

    enum Outcome {
        /// The bytes are used up.
        case needsMore
        /// The client wants to hear "100 Continue" before it sends the body; parsing goes on.
        case awaitsContinue
        case request(HTTPRequest, keepAlive: Bool)
        /// The connection's last outcome.
        case failure(HTTPProblem)
    }

    enum Phase {
        /// Can transition to: head.
        case betweenRequests
        /// Can transition to: body, betweenRequests.
        case head
        /// Can transition to: betweenRequests.
        case body
    }

    private(set) var phase = Phase.betweenRequests
    private let bodyBytesMax: Int
    private let bodies: HTTPBodyBudget
    /// What the body of this request takes of the budget.
    private var bodyBytes = 0
    private let parser = UnsafeMutablePointer<http_parser>.allocate(capacity: 1)
    private var failure: HTTPProblem?
    private var isComplete = false
    private var owesContinue = false
    private var keepAlive = false

    private var headBytes = 0
    private var target: [UInt8] = []
    private var headers: [(name: [UInt8], value: [UInt8])] = []
    private var isInValue = false
    private var body: [UInt8] = []

    /// - Parameter bodies: those of all connections.
    init(bodyBytesMax: Int, bodies: HTTPBodyBudget) {
        self.bodyBytesMax = bodyBytesMax
        self.bodies = bodies
        parser.initialize(to: http_parser())
        http_parser_init(parser, HTTP_REQUEST)
        // The parser is only run by this object's methods.
        parser.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit { parser.deallocate() }

    /// The last request's body is needed no more.
    func releaseBody() {
        bodies.give(bodyBytes)
        bodyBytes = 0
    }

    /// Reads from `position` on, up to the end of a request or of `bytes`; moves `position`.
    func feed(_ bytes: RawSpan, at position: inout Int) -> Outcome {
        if let failure { return .failure(failure) }
        if position < bytes.byteCount {
            http_parser_pause(parser, 0)
            position += bytes.extracting(position...).withUnsafeBytes { rest in
                http_parser_execute(
                    parser, httpCallbacks, rest.baseAddress?.assumingMemoryBound(to: CChar.self),
                    rest.count)
            }
        }
        if let failure { return .failure(failure) }
        let error = http_errno(rawValue: UInt32(parser.pointee.http_errno))
        if error != HPE_OK, error != HPE_PAUSED { return fail(problem(error)) }
        if isComplete { return takeRequest() }
        if owesContinue {
            owesContinue = false
            return .awaitsContinue
        }
        guard position >= bytes.byteCount else {
            return fail(HTTPProblem(400, "the request could not be understood"))
        }
        return .needsMore
    }

    private func fail(_ problem: HTTPProblem) -> Outcome {
        failure = problem
        return .failure(problem)
    }

    private func problem(_ error: http_errno) -> HTTPProblem {
        if error == HPE_HEADER_OVERFLOW { return Self.headTooLong }
        return HTTPProblem(
            400, "the request is malformed: " + String(cString: http_errno_description(error)))
    }

    private static let headTooLong = HTTPProblem(
        431, "request line and headers may have \(headBytesMax) bytes together")

    private func takeRequest() -> Outcome {
        let method = String(
            cString: http_method_str(http_method(rawValue: UInt32(parser.pointee.method))))
        do throws(HTTPProblem) {
            let target = try HTTPTarget(self.target, method: method)
            let request = HTTPRequest(
                method: method, path: target.path, segments: target.segments, query: target.query,
                headers: headers.map {
                    (
                        String(decoding: $0.name, as: UTF8.self),
                        String(decoding: $0.value, as: UTF8.self)
                    )
                }, body: body)
            reset()
            return .request(request, keepAlive: keepAlive)
        } catch {
            return fail(error)
        }
    }

    private func reset() {
        phase = .betweenRequests
        isComplete = false
        owesContinue = false
        headBytes = 0
        target = []
        headers = []
        isInValue = false
        body = []
    }
}

// MARK: Called by the parser

extension HTTPRequestParser {
    fileprivate func didBegin() { phase = .head }

    fileprivate func didReadTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard countHead(bytes.count) else { return false }
        target.append(contentsOf: bytes)
        return true
    }

    fileprivate func didReadName(_ bytes: UnsafeRawBufferPointer) -> Bool {
        // Trailers come after the body; they are read over, within the parser's own limit.
        guard phase == .head else { return true }
        if isInValue || headers.isEmpty {
            guard countHead(4) else { return false }
            headers.append(([], []))
            isInValue = false
        }
        guard countHead(bytes.count) else { return false }
        for byte in bytes {
            let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
            headers[headers.count - 1].name.append(isUpper ? byte | 0x20 : byte)
        }
        return true
    }

    fileprivate func didReadValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard phase == .head, !headers.isEmpty else { return true }
        isInValue = true
        guard countHead(bytes.count) else { return false }
        headers[headers.count - 1].value.append(contentsOf: bytes)
        return true
    }

    fileprivate func didReadHead() -> Bool {
        if let problem = problemOfHead() {
            failure = problem
            return false
        }
        keepAlive = http_should_keep_alive(parser) != 0
        // No other protocol is spoken here; a request that offers one is answered in HTTP/1.1.
        parser.pointee.upgrade = 0
        phase = .body
        let hasBody =
            hasContentLength
            ? parser.pointee.content_length > 0 : values("transfer-encoding").count > 0
        if hasBody, parser.pointee.http_minor > 0, let expected = values("expect").first,
            expected.lowercased() == "100-continue"
        {
            owesContinue = true
            http_parser_pause(parser, 1)
        }
        return true
    }

    fileprivate func didReadBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard body.count + bytes.count <= bodyBytesMax else {
            failure = bodyTooLong
            return false
        }
        guard bodies.take(bytes.count) else {
            failure = HTTPProblem(503, "requests with \(bodies.used) bytes are being handled; try again later")
            return false
        }
        bodyBytes += bytes.count
        body.append(contentsOf: bytes)
        return true
    }

    fileprivate func didEnd() {
        isComplete = true
        http_parser_pause(parser, 1)
    }

    private func countHead(_ count: Int) -> Bool {
        headBytes += count
        guard headBytes <= Self.headBytesMax else {
            failure = Self.headTooLong
            return false
        }
        return true
    }

    private var hasContentLength: Bool {
        parser.pointee.flags & UInt32(F_CONTENTLENGTH.rawValue) != 0
    }

    private var bodyTooLong: HTTPProblem {
        HTTPProblem(413, "a body may have \(bodyBytesMax) bytes")
    }

    private func values(_ name: String) -> [String] {
        headers.filter { $0.name.elementsEqual(name.utf8) }.map {
            String(decoding: $0.value, as: UTF8.self)
        }
    }

    /// What two readers could understand differently is refused: that is how requests are smuggled
    /// (RFC 9112, 6.3 and 11.2).
    private func problemOfHead() -> HTTPProblem? {
        let parser = parser.pointee
        guard parser.http_major == 1, parser.http_minor <= 1 else {
            return HTTPProblem(505, "this server speaks HTTP/1.1")
        }
        guard parser.method != HTTP_CONNECT.rawValue else {
            return HTTPProblem(501, "this server is no proxy")
        }
        let lengths = values("content-length")
        let encodings = values("transfer-encoding")
        guard lengths.isEmpty || encodings.isEmpty else {
            return HTTPProblem(400, "a request has Content-Length or Transfer-Encoding, not both")
        }
        guard lengths.count <= 1, encodings.count <= 1 else {
            return HTTPProblem(400, "Content-Length and Transfer-Encoding may be given once")
        }
        if let encoding = encodings.first,
            encoding.lowercased() != "chunked" || parser.http_minor == 0
        {
            return HTTPProblem(501, "the only transfer encoding understood is chunked, in HTTP/1.1")
        }
        guard parser.http_minor == 0 || values("host").count == 1 else {
            return HTTPProblem(400, "a request has exactly one Host header")
        }
        guard !hasContentLength || parser.content_length <= UInt64(bodyBytesMax) else {
            return bodyTooLong
        }
        return nil
    }
}

/// `nonisolated(unsafe)`: written once, here, and only read afterwards.
private nonisolated(unsafe) let httpCallbacks: UnsafePointer<http_parser_settings> = {
    let settings = UnsafeMutablePointer<http_parser_settings>.allocate(capacity: 1)
    var callbacks = http_parser_settings()
    http_parser_settings_init(&callbacks)
    callbacks.on_message_begin = {
        owner($0).didBegin()
        return 0
    }
    callbacks.on_url = { owner($0).didReadTarget(bytes($1, $2)) ? 0 : -1 }
    callbacks.on_header_field = { owner($0).didReadName(bytes($1, $2)) ? 0 : -1 }
    callbacks.on_header_value = { owner($0).didReadValue(bytes($1, $2)) ? 0 : -1 }
    callbacks.on_headers_complete = { owner($0).didReadHead() ? 0 : -1 }
    callbacks.on_body = { owner($0).didReadBody(bytes($1, $2)) ? 0 : -1 }
    callbacks.on_message_complete = {
        owner($0).didEnd()
        return 0
    }
    settings.initialize(to: callbacks)
    return UnsafePointer(settings)
}()

private func owner(_ parser: UnsafeMutablePointer<http_parser>?) -> HTTPRequestParser {
    Unmanaged<HTTPRequestParser>.fromOpaque(parser!.pointee.data).takeUnretainedValue()
}

private func bytes(_ base: UnsafePointer<CChar>?, _ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: count)
}
