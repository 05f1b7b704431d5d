import Foundation

/// The public protobuf compiler, as an independent reader and writer of our bytes.
package enum Protoc {
    static let path = ["/usr/bin/protoc", "/usr/local/bin/protoc"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }
    package static var exists: Bool { path != nil }
    private static let protos = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Sources/Actors/Protos").standardized.path

    package static func decode(_ bytes: [UInt8], as message: String, in file: String) throws -> String {
        String(decoding: try run(["--decode=\(message)", "-I", protos, file], input: Data(bytes)), as: UTF8.self)
    }

    package static func encode(_ text: String, as message: String, in file: String) throws -> [UInt8] {
        Array(try run(["--encode=\(message)", "-I", protos, file], input: Data(text.utf8)))
    }

    /// What protoc has rejected; it says why on its standard error.
    private struct Failure: Error {
        var arguments: [String]
    }

    private static func run(_ arguments: [String], input: Data) throws -> Data {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path!)
        process.arguments = arguments
        let inPipe = Pipe()
        let outPipe = Pipe()
        process.standardInput = inPipe
        process.standardOutput = outPipe
        try process.run()
        inPipe.fileHandleForWriting.write(input)
        inPipe.fileHandleForWriting.closeFile()
        let output = outPipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(arguments: arguments) }
        return output
    }
}
