import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// One byte of a log rots, each in its turn.
@Suite struct LogFlipTests {
    /// Small enough that the log has segments of each kind: sealed, used again, spare.
    private static let limit: UInt64 = 400

    private func open(_ files: any FileSystem, _ directory: String = "/data") throws -> (DiskLogStore, StoredLog) {
        // Entries from the tenth on have a payload that is longer.
        let store = DiskLogStore(
            directory: directory, fileSystem: files, segmentSizeLimit: Self.limit, payloadFileLimit: 7)
        return (store, try store.openAndRead())
    }

    private func fill(_ files: any FileSystem, _ directory: String = "/data", isClosed: Bool) throws {
        let (store, _) = try open(files, directory)
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(9, create: 1)))
        try busy(store, 1...20)
        try store.write(LogBatch(.of(1, create: 1, hardState: HardState(term: Term(1)), sampleEntries(1...4))))
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(2)), .of(2, create: 1, sampleEntries(1...8))))
        try store.write(LogBatch(.of(2, hardState: HardState(term: Term(3)), sampleEntries(9...26))))
        try busy(store, 21...45)
        try store.write(LogBatch(.of(1, sampleEntries(5...6, term: 2)), .of(2, snapshot: sampleSnapshot(26))))
        try store.write(LogBatch(.of(2, sampleEntries(27...42))))
        for term: UInt64 in 5...14 { try store.write(LogBatch(.of(1, hardState: HardState(term: Term(term))))) }
        try store.write(LogBatch(.of(2, sampleEntries(43...43))))
        if isClosed { try store.close() }
    }

    /// A group that moves fast and keeps nothing behind its snapshot.
    private func busy(_ store: DiskLogStore, _ indexes: ClosedRange<UInt64>) throws {
        for index in indexes { try store.write(LogBatch(.of(9, sampleEntries(index...index)))) }
        let snapshot = sampleSnapshot(indexes.upperBound)
        try store.write(LogBatch(.of(9, snapshot: snapshot)))
    }

    private func read(_ files: any FileSystem, _ directory: String = "/data") throws -> Holdings {
        let (store, log) = try open(files, directory)
        defer { try? store.close() }
        return Holdings(log)
    }

    /// Counts what the flips of one sweep came to.
    private struct Tally: CustomStringConvertible {
        var positions = 0
        var refused = 0
        var recovering = 0
        var harmless = 0
        var description: String {
            "\(positions) of \(positions) positions: \(refused) refused, \(recovering) recovering, "
                + "\(harmless) without effect"
        }
    }

    /// All of a file's bytes; of a spare file, which nobody reads, the first few.
    private static func offsets(_ path: String, _ bytes: [UInt8]) -> Range<Int> {
        path.hasSuffix(".free") ? 0..<LogFormat.segmentHeaderBytes : bytes.indices
    }

    /// Damage is an error that names the file, or changes nothing, or leaves prefixes that are known to be such.
    private func judge(
        _ path: String, _ offset: Int, whole: Holdings, _ tally: inout Tally,
        read: () throws -> Holdings
    ) {
        tally.positions += 1
        let place: Comment = "\(path) byte \(offset)"
        do {
            let found = try read()
            if found == whole {
                tally.harmless += 1
                return
            }
            tally.recovering += 1
            #expect(found.groups.count == whole.groups.count, place)
            for (group, complete) in zip(found.groups, whole.groups) where group != complete {
                #expect(group.recoveringUntil != nil && complete.entries.starts(with: group.entries), place)
            }
        } catch let error as LogError {
            tally.refused += 1
            let names = path.hasSuffix(".seg") ? ".seg" : path
            #expect([.damaged, .unknownVersion, .missing].contains(error.code), place)
            let remedy = error.code == .unknownVersion ? "run the version of Flotilla" : "remove this node"
            #expect(error.message.contains(names) && error.message.contains(remedy), "\(place): \(error)")
        } catch {
            Issue.record(error, place)
        }
    }

    @Test(
        "every single byte of a log flipped: it is an error, or changes nothing, or leaves a known prefix",
        arguments: [true, false])
    func everyByte(isClosed: Bool) throws {
        let files = PowerLossFileSystem()
        try fill(files, isClosed: isClosed)
        let contents = files.contents
        #expect(contents.keys.filter { $0.hasSuffix(".seg") }.count > 1, "\(contents.keys.sorted())")
        #expect(contents.keys.contains { $0.hasSuffix(".free") })
        #expect(contents.keys.filter { $0.contains("/payloads/") }.count == 17)
        let whole = try read(PowerLossFileSystem(contents))
        var tally = Tally()
        for (path, bytes) in contents.sorted(by: { $0.key < $1.key }) {
            for offset in Self.offsets(path, bytes) {
                var damaged = contents
                damaged[path]![offset] ^= UInt8(1 << (offset % 8))
                judge(path, offset, whole: whole, &tally) {
                    try read(PowerLossFileSystem(damaged))
                }
            }
        }
        print("flips, closed \(isClosed), in memory: \(tally)")
        #expect(tally.refused > 0 && tally.harmless > 0 && tally.recovering > 0)
    }

    @Test(
        "every single byte of a closed log on real files flipped: it is an error, or changes nothing, or leaves a known prefix"
    )
    func everyByteOfRealFiles() throws {
        // In memory if the system has such files: thousands of starts sync every file they write.
        try withTemporaryDirectory(in: PosixFileSystem().exists("/dev/shm") ? "/dev/shm" : "/tmp") { directory in
            let system = PosixFileSystem()
            let data = directory + "/data"
            try fill(system, data, isClosed: true)
            let tree = try FileTree(system, data)
            let whole = try read(system, data)
            try tree.restore()
            var tally = Tally()
            for (path, bytes) in tree.contents.sorted(by: { $0.key < $1.key }) {
                for offset in Self.offsets(path, bytes) {
                    try tree.write([bytes[offset] ^ UInt8(1 << (offset % 8))], at: offset, of: path)
                    let refused = tally.refused
                    judge(path, offset, whole: whole, &tally) { try read(system, data) }
                    try tree.write([bytes[offset]], at: offset, of: path)
                    // Whoever repairs it finds it as it was.
                    if tally.refused > refused {
                        if offset % 16 == 0 { #expect(try FileTree(system, data).contents == tree.contents) }
                    } else {
                        try tree.restore()
                    }
                }
            }
            print("flips, closed, real files: \(tally)")
            #expect(tally.refused > 0 && tally.harmless > 0 && tally.recovering > 0)
        }
    }
}

/// A data directory's files, to be put back.
private struct FileTree {
    private static let places = ["", "/log", "/payloads"]
    private let system: PosixFileSystem
    private let root: String
    private(set) var contents: [String: [UInt8]] = [:]

    init(_ system: PosixFileSystem, _ root: String) throws {
        self.system = system
        self.root = root
        for path in try paths { contents[path] = try system.readWhole(root + path) }
    }

    private var paths: [String] {
        get throws {
            try Self.places.flatMap { place in
                try system.list(root + place).filter { !["log", "payloads", "LOCK"].contains($0) }
                    .map { place + "/" + $0 }
            }
        }
    }

    func write(_ bytes: [UInt8], at offset: Int, of path: String) throws {
        try system.open(root + path, create: true).write(bytes, at: UInt64(offset))
    }

    func restore() throws {
        for path in try paths where contents[path] == nil { try system.remove(root + path) }
        for (path, bytes) in contents {
            try system.open(root + path, create: true).truncate(to: UInt64(bytes.count))
            try write(bytes, at: 0, of: path)
        }
    }
}
