import FlotillaIO
import Glibc

/// Files beside the sources of the scenarios, for tests and explorers that run where they were built.
package enum RecordFile: String {
    case regressions = "regressions.txt"
    case hashes = "hashes.txt"

    package var path: String {
        "\(#filePath)".split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/" + rawValue
    }

    package func text() throws -> String {
        let file = try PosixFileSystem().open(path, create: false)
        return String(decoding: try file.read(at: 0, count: Int(file.size)), as: UTF8.self)
    }

    package func write(_ text: String) throws {
        let file = try PosixFileSystem().open(path, create: true)
        try file.truncate(to: 0)
        try file.write(Array(text.utf8), at: 0)
    }
}
