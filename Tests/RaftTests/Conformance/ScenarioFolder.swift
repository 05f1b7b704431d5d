import Glibc

/// The scenario files below a folder.
enum ScenarioFolder {
    /// Every `*.txt` file below `folder`, sorted by path; nil where there is no such folder.
    static func files(in folder: String) -> [String]? {
        guard let entries = list(folder) else { return nil }
        var files: [String] = []
        for entry in entries {
            let path = folder + "/" + entry
            if let inner = Self.files(in: path) {
                files += inner
            } else if entry.hasSuffix(".txt") {
                files.append(path)
            }
        }
        return files.sorted()
    }

    static func read(_ path: String) throws(ScenarioError) -> String {
        guard let file = fopen(path, "r") else { throw ScenarioError(path, 0, "cannot be read") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk[..<count]
        }
    }

    private static func list(_ folder: String) -> [String]? {
        guard let directory = opendir(folder) else { return nil }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
