import CRocksDB

/// librocksdb, opened by whoever needs it first.
///
/// `@unchecked Sendable`: the table of functions is written before anyone sees it, and never again.
struct RocksDBLibrary: @unchecked Sendable {
    let functions: UnsafePointer<flotilla_rocksdb>

    private static let loaded: Result<RocksDBLibrary, RocksDBError> = {
        var reason: UnsafePointer<CChar>?
        guard let functions = flotilla_rocksdb_load(&reason) else {
            let text = reason.map { String(cString: $0) } ?? "no reason given"
            return .failure(
                RocksDBError(
                    .noLibrary,
                    "RocksDB cannot be used here (\(text)): install librocksdb (apt-get install librocksdb-dev)"))
        }
        return .success(RocksDBLibrary(functions: functions))
    }()

    static func load() throws(RocksDBError) -> RocksDBLibrary { try loaded.get() }

    /// Runs a call that reports its failure in its last argument.
    func call<Result>(
        _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) throws(RocksDBError) -> Result {
        var message: UnsafeMutablePointer<CChar>?
        let result = body(&message)
        guard let message else { return result }
        defer { functions.pointee.free(message) }
        throw RocksDBError(saying: String(cString: message))
    }
}

/// What RocksDB, or the lack of it, has to say.
public struct RocksDBError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// librocksdb is not installed.
        case noLibrary
        /// A checksum does not match, or a file is missing.
        case damaged
        /// A file could not grow. The database takes no more writes until it is opened again.
        case diskFull
        /// Everything else, such as a failed write or no permission.
        case ioFailed
    }
    public var code: Code
    public var message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The C interface tells kinds of errors apart by the words that they begin with.
    package init(saying message: String) {
        if message.hasPrefix("Corruption") {
            self.init(.damaged, message)
        } else {
            let isFull = ["No space left on device", "Disk quota exceeded"].contains { message.contains($0) }
            self.init(isFull ? .diskFull : .ioFailed, message)
        }
    }

    public var description: String { message }
}
