import CCurl

/// Sends one request and waits for the answer: for the command line only, since it blocks its
/// thread.
public enum HTTPClient {
    /// A longer answer is an error.
    public static let responseBytesMax = 64 * 1024 * 1024

    /// - Parameters:
    ///   - url: http or https; redirects are not followed.
    ///   - timeout: for the whole exchange.
    /// - Returns: what the server answered, whatever the status.
    public static func send(
        method: String, url: String, body: [UInt8]? = nil,
        headers: [(name: String, value: String)] = [], timeout: Duration
    ) throws(HTTPClientError) -> (status: Int, body: [UInt8]) {
        guard curlIsReady, let handle = curl_easy_init() else {
            throw HTTPClientError(.failed, "libcurl could not be started")
        }
        defer { curl_easy_cleanup(handle) }
        var list: UnsafeMutablePointer<curl_slist>?
        defer { curl_slist_free_all(list) }
        // No waiting for "100 Continue".
        for line in ["Expect:"] + headers.map({ "\($0.name): \($0.value)" }) {
            guard !line.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 }) else {
                throw HTTPClientError(
                    .invalidRequest, "a header may not contain a line break: \(line)")
            }
            list = curl_slist_append(list, line)
        }
        let response = ResponseBuffer()
        let hasBody = body != nil
        // One byte more, because libcurl takes a null pointer for "read the body from standard
        // input".
        let code = ((body ?? []) + [0]).withUnsafeBytes { body in
            withExtendedLifetime(response) {
                var transfer = Transfer(handle: handle)
                transfer.set(CURLOPT_NOSIGNAL, 1)
                transfer.set(CURLOPT_PROTOCOLS_STR, "http,https")
                transfer.set(CURLOPT_URL, url)
                transfer.set(CURLOPT_TIMEOUT_MS, milliseconds(timeout))
                transfer.set(CURLOPT_HTTPHEADER, list)
                if hasBody {
                    transfer.set(CURLOPT_POSTFIELDSIZE, body.count - 1)
                    transfer.set(CURLOPT_POSTFIELDS, body.baseAddress)
                }
                transfer.set(CURLOPT_CUSTOMREQUEST, method)
                if method == "HEAD" { transfer.set(CURLOPT_NOBODY, 1) }
                transfer.receive(into: response)
                return transfer.perform()
            }
        }
        guard code == CURLE_OK else { throw failure(code, response, url, timeout) }
        var status = 0
        flotilla_curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
        return (status, response.bytes)
    }

    private static func failure(
        _ code: CURLcode, _ response: ResponseBuffer, _ url: String, _ timeout: Duration
    ) -> HTTPClientError {
        let words = String(cString: curl_easy_strerror(code))
        switch code {
        case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL:
            return HTTPClientError(
                .invalidRequest, "\(url) is no URL to call: write http://host:port/path (\(words))")
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST:
            return HTTPClientError(
                .connectFailed, "\(url): \(words); check the address, and that the node runs")
        case CURLE_OPERATION_TIMEDOUT:
            return HTTPClientError(.timedOut, "\(url): no answer within \(timeout)")
        case CURLE_WRITE_ERROR where response.isTooLong:
            return HTTPClientError(
                .failed, "\(url): the answer is longer than \(responseBytesMax) bytes")
        default:
            return HTTPClientError(.failed, "\(url): \(words)")
        }
    }
}

/// Why there is no answer.
public struct HTTPClientError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable { case invalidRequest, connectFailed, timedOut, failed }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}

private final class ResponseBuffer {
    var bytes: [UInt8] = []
    var isTooLong = false
}

/// libcurl's handle while it is set up: remembers the first option that was refused. Text is copied
/// by libcurl; other pointers must stay valid until `perform` returns.
private struct Transfer {
    let handle: UnsafeMutableRawPointer
    private var code = CURLE_OK

    init(handle: UnsafeMutableRawPointer) { self.handle = handle }

    mutating func set(_ option: CURLoption, _ value: Int) {
        keep(flotilla_curl_set_long(handle, option, value))
    }

    mutating func set(_ option: CURLoption, _ value: String) {
        keep(value.withCString { flotilla_curl_set_pointer(handle, option, $0) })
    }

    mutating func set(_ option: CURLoption, _ value: UnsafeRawPointer?) {
        keep(flotilla_curl_set_pointer(handle, option, value))
    }

    mutating func receive(into response: ResponseBuffer) {
        let context = Unmanaged.passUnretained(response).toOpaque()
        keep(
            flotilla_curl_set_write(
                handle,
                { data, size, count, context in
                    let response = Unmanaged<ResponseBuffer>.fromOpaque(context!)
                        .takeUnretainedValue()
                    let length = size * count
                    guard response.bytes.count + length <= HTTPClient.responseBytesMax else {
                        response.isTooLong = true
                        return 0
                    }
                    response.bytes.append(
                        contentsOf: UnsafeRawBufferPointer(start: data, count: length))
                    return length
                }, context))
    }

    func perform() -> CURLcode { code == CURLE_OK ? curl_easy_perform(handle) : code }

    private mutating func keep(_ result: CURLcode) {
        if code == CURLE_OK { code = result }
    }
}

private func milliseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    return Int(min(max(seconds, 0), 1 << 40)) * 1000
        + max(1, Int(attoseconds / 1_000_000_000_000_000))
}

/// Once per process, before any thread uses libcurl.
private let curlIsReady: Bool = curl_global_init(Int(CURL_GLOBAL_ALL)) == CURLE_OK
