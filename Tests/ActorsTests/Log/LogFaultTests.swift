import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Failing disks, and directories that are in use.
@Suite struct LogFaultTests {
    private func openStore(_ files: PowerLossFileSystem) throws -> DiskLogStore {
        let store = DiskLogStore(directory: "/data", fileSystem: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...3))))
        return store
    }

    @Test("after one failed fsync nothing more is written, though the disk would take it")
    func failedSync() throws {
        let files = PowerLossFileSystem()
        let store = try openStore(files)
        files.state.withLock { $0.failsNextSync = true }
        let first = try #require(throws: LogError.self) {
            try store.write(LogBatch(.of(1, sampleEntries(4...4))))
        }
        #expect(
            first.code == .ioFailed && first.message.contains("fdatasync /data/log/00000001.seg"))
        let changes = files.state.withLock { $0.changes }
        let calls: [() throws -> Void] = [
            { try store.write(LogBatch(.of(1, sampleEntries(4...4)))) },
            { try store.persistIdentity(sampleIdentity) },
            { try store.close() },
        ]
        for call in calls {
            let error = try #require(throws: LogError.self) { try call() }
            #expect(
                error.code == .ioFailed
                    && error.message.contains("restart the node to verify its log"))
        }
        #expect(files.state.withLock { $0.changes } == changes)
        // The directory is free, and what was acknowledged is there.
        files.losePower()
        let next = DiskLogStore(directory: "/data", fileSystem: files)
        #expect(try next.openAndRead().groups[0].entries == sampleEntries(1...3))
    }

    @Test("a directory serves one store at a time, and is free again after close")
    func lockConflict() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/data"
            let first = DiskLogStore(directory: path, fileSystem: PosixFileSystem())
            _ = try first.open()
            try first.persistIdentity(sampleIdentity)
            let second = DiskLogStore(directory: path, fileSystem: PosixFileSystem())
            let error = try #require(throws: LogError.self) { try second.open() }
            #expect(error.code == .inUse && error.message.contains(path))
            try first.close()
            let log = try second.openAndRead()
            #expect(log.identity == sampleIdentity && log.bootCounter == 2)
            try second.close()
        }
    }

    @Test(
        "a log without its identity or its boot counter is refused",
        arguments: ["identity", "boot"])
    func missingFile(_ name: String) throws {
        let files = PowerLossFileSystem()
        let store = try openStore(files)
        try store.close()
        var contents = files.contents
        contents["/data/" + name] = nil
        let next = DiskLogStore(directory: "/data", fileSystem: PowerLossFileSystem(contents))
        let error = try #require(throws: LogError.self) { try next.open() }
        #expect(error.code == .missing && error.message.contains("/data/" + name))
    }

    @Test("a directory that the node may not write to is an error that names it, and says what to do")
    func noPermission() throws {
        // Nobody may, root included.
        let directory = "/sys/flotilla-data"
        let store = DiskLogStore(directory: directory, fileSystem: PosixFileSystem())
        let error = try #require(throws: LogError.self) { try store.open() }
        #expect(error.code == .ioFailed && error.message.contains(directory), "\(error)")
        #expect(error.message.contains("must be able to read and write there"), "\(error)")
    }
}
