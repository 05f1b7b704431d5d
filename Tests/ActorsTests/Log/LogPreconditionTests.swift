import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Writes that no correct caller makes end the process before they reach the disk.
@Suite struct LogPreconditionTests {
    private static func opened() throws -> DiskLogStore {
        let store = DiskLogStore(directory: "/data", fileSystem: PowerLossFileSystem())
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...3))))
        return store
    }

    @Test("entries behind a gap are not written")
    func gap() async {
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(LogBatch(.of(1, sampleEntries(5...5))))
        }
    }

    @Test("entries that do not follow each other, or whose terms fall, are not written")
    func order() async {
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(LogBatch(.of(1, [sampleEntry(4), sampleEntry(6)])))
        }
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(
                LogBatch(.of(1, [sampleEntry(4, term: 2), sampleEntry(5, term: 1)])))
        }
    }

    @Test("a replica that was not created, or was removed, is not written")
    func unknownReplica() async {
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(LogBatch(.of(2, sampleEntries(1...1))))
        }
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(LogBatch(.of(1, isRemoved: true), .of(1, create: 1)))
        }
        await #expect(processExitsWith: .failure) {
            try Self.opened().write(LogBatch(.of(1, create: 2)))
        }
    }

    @Test("nothing is written without an identity, and it never changes")
    func identity() async {
        await #expect(processExitsWith: .failure) {
            let store = MemoryLogStore()
            _ = try store.open()
            try store.write(LogBatch(.of(1, create: 1)))
        }
        await #expect(processExitsWith: .failure) {
            try Self.opened().persistIdentity(
                NodeIdentity(cluster: 1, node: NodeID(1), instance: 1))
        }
    }
}
