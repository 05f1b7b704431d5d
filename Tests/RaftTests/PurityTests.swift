import Glibc
import Testing

@Suite struct PurityTests {
    @Test("the core imports nothing, so that it can know no clock, disk or network")
    func importsNothing() throws {
        let folder =
            String(#filePath.prefix(upTo: #filePath.range(ofLast: "/Tests/")))
            + "/Sources/Actors/Raft"
        let directory = try #require(opendir(folder), "cannot read \(folder)")
        defer { closedir(directory) }
        var fileCount = 0
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasSuffix(".swift") else { continue }
            fileCount += 1
            for line in try read(folder + "/" + name).split(separator: "\n") {
                let words = line.split(separator: " ")
                #expect(!words.prefix(3).contains("import"), "\(name): \(line)")
            }
        }
        #expect(fileCount > 15)
    }

    private func read(_ path: String) throws -> String {
        let file = try #require(fopen(path, "r"), "cannot read \(path)")
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while true {
            let byte = getc(file)
            if byte == EOF { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(UInt8(byte))
        }
    }
}

extension String {
    fileprivate func range(ofLast needle: String) -> String.Index {
        var index = endIndex
        while index > startIndex, !self[index...].hasPrefix(needle) {
            index = self.index(before: index)
        }
        return index
    }
}
