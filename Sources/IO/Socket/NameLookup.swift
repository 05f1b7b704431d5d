import CLibuv
import Glibc

/// Finds the addresses of a name by libuv's resolver threads (four, started by the first lookup of
/// a process and kept).
///
/// `@unchecked Sendable`: used on the loop only; the resolver threads touch the request alone.
final class NameLookup: @unchecked Sendable {
    private let target: HostPort
    private let completion: (Result<[SocketAddress], NetworkError>) -> Void
    private let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)

    private init(
        _ target: HostPort, completion: @escaping (Result<[SocketAddress], NetworkError>) -> Void
    ) {
        self.target = target
        self.completion = completion
    }

    deinit { request.deallocate() }

    /// Calls `completion` on the loop, later, also when the loop is stopping.
    static func start(
        _ target: HostPort, on handles: LoopHandles,
        completion: @escaping (Result<[SocketAddress], NetworkError>) -> Void
    ) {
        let lookup = NameLookup(target, completion: completion)
        let context = Unmanaged.passRetained(lookup)
        lookup.request.initialize(to: uv_getaddrinfo_t())
        lookup.request.pointee.data = context.toOpaque()
        var hints = lookup.hints
        let result = uv_getaddrinfo(
            handles.uv, lookup.request,
            { request, status, list in
                let context = Unmanaged<NameLookup>.fromOpaque(request!.pointee.data)
                let lookup = context.takeRetainedValue()
                lookup.completion(lookup.outcome(status, list))
            }, target.host, nil, &hints)
        if result != 0 {
            let failure = lookup.failure(result)
            context.release()
            eventLoop(handles.uv).execute { lookup.completion(.failure(failure)) }
        }
    }

    /// Looks the name up while the caller waits: for listeners, which open when a node starts.
    static func now(_ target: HostPort, on handles: LoopHandles) throws(NetworkError)
        -> [SocketAddress]
    {
        if let address = SocketAddress(numeric: target) { return [address] }
        let lookup = NameLookup(target) { _ in }
        lookup.request.initialize(to: uv_getaddrinfo_t())
        var hints = lookup.hints
        let status = uv_getaddrinfo(handles.uv, lookup.request, nil, target.host, nil, &hints)
        return try lookup.outcome(status, lookup.request.pointee.addrinfo).get()
    }

    private var hints: addrinfo {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        return hints
    }

    private func outcome(
        _ status: Int32, _ list: UnsafeMutablePointer<addrinfo>?
    ) -> Result<[SocketAddress], NetworkError> {
        guard status == 0 else { return .failure(failure(status)) }
        defer { uv_freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let info = next {
            if let address = info.pointee.ai_addr.flatMap({
                SocketAddress(copying: $0, port: target.port)
            }) {
                addresses.append(address)
            }
            next = info.pointee.ai_next
        }
        return addresses.isEmpty ? .failure(failure(UV_EAI_NONAME.rawValue)) : .success(addresses)
    }

    private func failure(_ status: Int32) -> NetworkError {
        NetworkError(
            .connectFailed,
            "\(target.host) could not be looked up: \(uvErrorText(status)); check the name, or write the IP address"
        )
    }
}
