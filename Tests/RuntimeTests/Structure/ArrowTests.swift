import Foundation
import Testing

/// The modules' arrows run one way: Runtime -> Actors -> IO, and Actors -> Raft, which imports nothing.
@Suite struct ArrowTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../..").standardized

    /// What may be imported below a folder; the first match counts, so inner folders come first.
    private static let allowed: [(folder: String, modules: Set<String>)] = [
        ("Sources/Actors/Raft/", []),
        ("Sources/Actors/", ["FlotillaIO", "FlotillaRaft"]),
        ("Sources/IO/", ["CLibuv", "CHTTPParser", "CISAL", "CCurl", "CRocksDB", "CZstd", "CCrypto", "Glibc"]),
        (
            "Sources/Runtime/Simulation/",
            ["FlotillaIO", "FlotillaRaft", "FlotillaActors", "Flotilla", "CSimulationHook", "Glibc"]
        ),
        ("Sources/Runtime/Executable/", ["Flotilla", "FlotillaIO", "FoundationEssentials", "Glibc"]),
        ("Sources/Runtime/", ["FlotillaIO", "FlotillaRaft", "FlotillaActors", "FoundationEssentials", "Glibc"]),
    ]

    @Test("every module imports only what stands below it, and the core imports nothing")
    func arrows() throws {
        let sources = Self.root.appendingPathComponent("Sources")
        let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        var count = 0
        for case let file as URL in files where file.pathExtension == "swift" {
            let path = String(file.standardized.path.dropFirst(Self.root.path.count + 1))
            // The tutorial's code is its readers'.
            if path.contains(".docc/") { continue }
            let rule = try #require(Self.allowed.first { path.hasPrefix($0.folder) }, "\(path) has no rule")
            count += 1
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                let words = line.split(separator: " ")
                guard let position = words.firstIndex(of: "import"), position + 1 < words.count,
                    words[..<position].allSatisfy({
                        ["public", "internal", "package"].contains($0) || $0.hasPrefix("@")
                    })
                else { continue }
                let module = String(words[position + 1])
                #expect(rule.modules.contains(module), "\(path) imports \(module)")
            }
        }
        #expect(count > 100, "only \(count) files were looked at")
    }
}
