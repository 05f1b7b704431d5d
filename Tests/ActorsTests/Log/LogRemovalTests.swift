import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Segments that go, and segments that cannot be read.
@Suite struct LogRemovalTests {
    private let files = PowerLossFileSystem()

    private func open(limit: UInt64) throws -> (DiskLogStore, StoredLog) {
        let store = DiskLogStore(directory: "/data", fileSystem: files, segmentSizeLimit: limit)
        let log = try store.openAndRead()
        try store.persistIdentity(sampleIdentity)
        return (store, log)
    }

    @Test("a crash that undoes the first removal of many leaves no gap")
    func removalsInOrder() throws {
        let (store, _) = try open(limit: 400)
        try store.write(LogBatch(.of(1, create: 1)))
        for index: UInt64 in 1...200 { try store.write(LogBatch(.of(1, [sampleEntry(index, "some payload")]))) }
        try store.write(LogBatch(.of(1, snapshot: sampleSnapshot(200))))
        files.forgetFirstRemoval()
        files.losePower(unsynced: .kept)
        let (_, log) = try open(limit: 400)
        #expect(log.groups[0].snapshot == sampleSnapshot(200))
    }

    @Test("a segment that cannot be read is an error, and costs nothing")
    func unreadableSegment() throws {
        let (store, _) = try open(limit: 4_000)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...20))))
        files.losePower()
        files.state.withLock { $0.readable = (".seg", LogFormat.segmentHeaderBytes) }
        let error = try #require(throws: LogError.self) { _ = try open(limit: 4_000) }
        #expect(error.code == .ioFailed && error.message.contains("pread"), "\(error)")
        files.state.withLock { $0.readable = nil }
        files.losePower()
        let (_, log) = try open(limit: 4_000)
        #expect(log.groups[0].entries == sampleEntries(1...20))
    }
}
