import Glibc

/// A file that a command reads whole.
enum InputFile {
    /// Longer input would not be taken by a node either.
    private static let bytesMax = 64 << 20

    static func read(_ path: String) throws(CommandError) -> [UInt8] {
        guard let file = fopen(path, "r") else {
            throw CommandError("\(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            bytes.append(contentsOf: buffer[..<count])
            guard bytes.count <= bytesMax else {
                throw CommandError("\(path) is longer than \(bytesMax) bytes")
            }
            if count < buffer.count { break }
        }
        guard ferror(file) == 0 else {
            throw CommandError("\(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        return bytes
    }
}
