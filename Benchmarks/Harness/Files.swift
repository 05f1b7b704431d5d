import FlotillaIO
import FoundationEssentials
import Glibc

func readText(_ path: String) throws(BenchError) -> String {
    guard let file = fopen(path, "r") else {
        throw BenchError("\(path) cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { break }
        bytes.append(contentsOf: buffer[..<count])
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Runs `body` with a directory of its own, which goes with a success and with an interruption, and stays, named, after a
/// failure.
///
/// - Parameters:
///   - contents: what somebody finds there.
///   - isKept: whether it stays after a success as well.
func withScratch<Result>(
    _ name: String, contents: String, isKept: Bool = false, _ body: (_ directory: String) async throws -> Result
) async throws -> Result {
    let scratch = try Scratch(name)
    do {
        let result = try await body(scratch.path)
        if isKept {
            Terminal.writeLine("\(contents): \(scratch.path)")
        } else {
            scratch.remove()
        }
        return result
    } catch {
        if error is CancellationError {
            scratch.remove()
        } else {
            Terminal.writeLine("\(contents) are kept: \(scratch.path)", to: .error)
        }
        throw error
    }
}

/// A directory of this run's own.
struct Scratch {
    let path: String

    /// Where such directories are.
    static var parent: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

    init(_ name: String) throws(BenchError) {
        let parent = Self.parent
        var template = Array("\(parent)/\(name).XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw BenchError(
                "no directory can be made in \(parent): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
