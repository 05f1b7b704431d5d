import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Glibc
import Testing

/// Runs a scenario with one node's disk.
private func withDisk(
    seed: UInt64 = 1,
    _ body: @escaping @Sendable (SimulationWorld, SimulatedDisk) async throws -> Void
) async throws {
    _ = try await Simulation.run(seed: seed) { world in
        try await body(world, world.disk(of: NodeID(1)))
    }
}

extension SimulationWorld {
    /// Boots the node, which must be down, and gives its files.
    fileprivate func boot() -> SimulatedFileSystem { start(NodeID(1)).fileSystem }
    fileprivate func powerOff(_ fate: UnsyncedFate = .dropped) {
        process(of: NodeID(1))?.end(.powerLost(fate))
    }
}

@Suite struct SimulatedDiskTests {
    @Test("files hold what is written, at any offset, and shrink and grow by truncation")
    func readsAndWrites() async throws {
        try await withDisk { world, disk in
            let files = world.boot()
            try files.createDirectory("/data/logs")
            let file = try files.open("/data/logs/a", create: true)
            try file.write([1, 2, 3], at: 0)
            try file.write([9], at: 5)
            #expect(try file.read(at: 0, count: 100) == [1, 2, 3, 0, 0, 9])
            #expect(try file.read(at: 4, count: 1) == [0])
            #expect(try file.read(at: 6, count: 1) == [])
            try file.truncate(to: 2)
            try file.truncate(to: 4)
            #expect(try file.read(at: 0, count: 100) == [1, 2, 0, 0])
            #expect(try file.size == 4)
            _ = try files.open("/data/logs/0", create: true)
            #expect(try files.list("/data/logs") == ["0", "a"])
            #expect(disk.files == ["/data/logs/0", "/data/logs/a"])
            #expect(
                disk.counts.writes == 2 && disk.counts.bytesWritten == 4 && disk.counts.reads == 4)
        }
    }

    @Test("calls on what is not there fail as the system's do")
    func errors() async throws {
        try await withDisk { world, _ in
            let files = world.boot()
            func errno(_ body: () throws -> Void) -> Int32? {
                do { try body() } catch { return (error as? FileError)?.errno }
                return nil
            }
            try files.createDirectory("/data/full")
            _ = try files.open("/data/full/file", create: true)
            #expect(errno { _ = try files.open("/data/none", create: false) } == ENOENT)
            #expect(errno { _ = try files.open("/nowhere/file", create: true) } == ENOENT)
            #expect(errno { _ = try files.open("/data", create: true) } == EISDIR)
            #expect(errno { _ = try files.list("/nowhere") } == ENOENT)
            #expect(errno { _ = try files.list("/data/full/file") } == ENOTDIR)
            #expect(errno { try files.remove("/data/none") } == ENOENT)
            #expect(errno { try files.remove("/data/full") } == EISDIR)
            #expect(errno { try files.rename("/data/none", to: "/data/x") } == ENOENT)
            #expect(errno { try files.rename("/data/full/file", to: "/data/full") } == EISDIR)
            #expect(errno { try files.createDirectory("/data/full/file/x") } == ENOTDIR)
        }
    }

    @Test("a power loss drops what was not synced: bytes, and files whose directory was not synced")
    func powerLossDrops() async throws {
        try await withDisk { world, disk in
            let files = world.boot()
            try files.createDirectory("/d")
            let kept = try files.open("/d/kept", create: true)
            try files.syncDirectory("/d")
            try kept.write([1, 2, 3], at: 0)
            try kept.sync()
            try kept.write([7, 7, 7, 7], at: 1)
            let lost = try files.open("/d/lost", create: true)
            try lost.write([1], at: 0)
            try lost.sync()
            #expect(disk.contents(of: "/d/kept") == [1, 7, 7, 7, 7])
            #expect(disk.durableContents(of: "/d/kept") == [1, 2, 3])
            world.powerOff()
            let again = world.boot()
            #expect(try again.list("/d") == ["kept"])
            #expect(try again.open("/d/kept", create: false).read(at: 0, count: 10) == [1, 2, 3])
        }
    }

    @Test("a killed process loses nothing of what it wrote, until the power fails after all")
    func killed() async throws {
        try await withDisk { world, _ in
            let files = world.boot()
            try files.createDirectory("/d")
            try files.open("/d/a", create: true).write([1], at: 0)
            world.process(of: NodeID(1))?.end(.killed)
            let again = world.boot()
            #expect(try again.open("/d/a", create: false).read(at: 0, count: 9) == [1])
            world.powerOff()
            #expect(try world.boot().list("/d") == [])
        }
    }

    @Test("renames and removals come back after a power loss unless their directory was synced")
    func entriesNeedSync() async throws {
        try await withDisk { world, _ in
            var files = world.boot()
            try files.createDirectory("/a")
            try files.createDirectory("/b")
            for name in ["/a/one", "/a/two", "/a/three"] {
                let file = try files.open(name, create: true)
                try file.write([1], at: 0)
                try file.sync()
            }
            try files.syncDirectory("/a")
            try files.rename("/a/one", to: "/a/moved")
            try files.remove("/a/two")
            #expect(try files.list("/a") == ["moved", "three"])
            world.powerOff()
            files = world.boot()
            #expect(try files.list("/a") == ["one", "three", "two"])
            try files.rename("/a/one", to: "/b/one")
            try files.remove("/a/two")
            try files.syncDirectory("/b")
            world.powerOff()
            files = world.boot()
            #expect(try files.list("/b") == ["one"])
            #expect(
                try files.list("/a").contains("one") == false,
                "a rename is one change: it happened in both or in none")
            try files.rename("/a/three", to: "/b/one")
            try files.syncDirectory("/a")
            world.powerOff()
            #expect(try world.boot().list("/b") == ["one"])
        }
    }

    @Test(
        "a file that was made, moved and synced in its new place does not come back in its old one")
    func movedFile() async throws {
        try await withDisk { world, _ in
            var files = world.boot()
            try files.createDirectory("/a")
            try files.createDirectory("/b")
            _ = try files.open("/a/x", create: true)
            try files.rename("/a/x", to: "/b/x")
            try files.syncDirectory("/b")
            try files.syncDirectory("/a")
            world.powerOff()
            files = world.boot()
            #expect(try files.list("/a") == [])
            #expect(try files.list("/b") == ["x"])
        }
    }

    @Test("a prefix of the unsynced writes may survive, the next one torn: every case comes up")
    func prefixes() async throws {
        let (short, torn, all) = (Notes(), Notes(), Notes())
        for seed in 0..<100 as Range<UInt64> {
            try await withDisk(seed: seed) { world, disk in
                let files = world.boot()
                let file = try files.open("/log", create: true)
                try files.syncDirectory("/")
                for number in 0..<4 as Range<UInt8> {
                    try file.write(
                        [UInt8](repeating: number + 1, count: 10), at: UInt64(number) * 10)
                }
                world.powerOff(.prefixKept)
                let left = disk.contents(of: "/log") ?? [99]
                let whole = (0..<40).map { UInt8($0 / 10 + 1) }
                #expect(left == Array(whole.prefix(left.count)), "seed \(seed)")
                #expect(disk.durableContents(of: "/log") == left)
                if left.count == 40 {
                    all.add("")
                } else if left.count % 10 == 0 {
                    short.add("")
                } else {
                    torn.add("")
                }
            }
        }
        #expect(!short.lines.isEmpty && !torn.lines.isEmpty && !all.lines.isEmpty)
    }

    @Test("a later unsynced write may survive an earlier one that did not")
    func anyOrder() async throws {
        let holes = Notes()
        for seed in 0..<50 as Range<UInt64> {
            try await withDisk(seed: seed) { world, disk in
                let files = world.boot()
                let file = try files.open("/log", create: true)
                try files.syncDirectory("/")
                try file.write([1, 1], at: 0)
                try file.write([2, 2], at: 2)
                world.powerOff(.anyKept)
                if disk.contents(of: "/log") == [0, 0, 2, 2] { holes.add("") }
            }
        }
        #expect(!holes.lines.isEmpty)
    }

    @Test("a failed sync loses the changes for good, though the next sync succeeds")
    func failedSync() async throws {
        try await withDisk { world, disk in
            let files = world.boot()
            let file = try files.open("/log", create: true)
            try files.syncDirectory("/")
            try file.write([1], at: 0)
            disk.failNext(.sync)
            #expect(throws: FileError.self) { try file.sync() }
            try file.sync()
            #expect(try file.read(at: 0, count: 1) == [1])
            #expect(disk.counts.syncs == 2 && disk.counts.failures == 1)
            world.powerOff()
            #expect(disk.contents(of: "/log") == [])
        }
    }

    @Test("a planned failure that is taken back does not happen")
    func failureTakenBack() async throws {
        try await withDisk { world, disk in
            let file = try world.boot().open("/log", create: true)
            disk.failNext(.sync, count: 3)
            disk.failNext(.sync, count: 0)
            try file.sync()
            #expect(disk.counts.failures == 0)
        }
    }

    @Test(
        "a failed write has written a part, a failed read nothing, and rates fail some of the calls"
    )
    func failedCalls() async throws {
        try await withDisk { world, disk in
            let files = world.boot()
            let file = try files.open("/log", create: true)
            disk.failNext(.write, count: 2, errno: ENOSPC)
            for _ in 0..<2 {
                #expect(throws: FileError(operation: "write", path: "/log", errno: ENOSPC)) {
                    try file.write([1, 2, 3, 4], at: 0)
                }
            }
            let part = disk.contents(of: "/log") ?? []
            #expect(part == Array([1, 2, 3, 4].prefix(part.count)))
            try file.write([1, 2, 3, 4], at: 0)
            disk.failureRate[.read] = 0.5
            let failed = (0..<100).count { _ in (try? file.read(at: 0, count: 1)) == nil }
            #expect((20..<80).contains(failed))
        }
    }

    @Test("the power can fail at any change of one piece of work")
    func powerLossInTheMiddle() async throws {
        for change in 1...5 {
            try await withDisk { world, disk in
                let process = world.start(NodeID(1))
                let notes = Notes()
                process.didEnd = { notes.add("ended") }
                disk.losePower(afterChanges: change, .dropped)
                var reached = 0
                do {
                    let file = try process.fileSystem.open("/log", create: true)  // 1
                    reached = 1
                    try process.fileSystem.syncDirectory("/")  // 2
                    reached = 2
                    try file.write([1], at: 0)  // 3
                    reached = 3
                    try file.sync()  // 4
                    reached = 4
                    try file.write([2], at: 1)  // 5
                    reached = 5
                } catch { #expect((error as? FileError)?.errno == EIO) }
                #expect(reached == change - 1)
                #expect(!process.isAlive)
                #expect(notes.lines == ["ended"])
                #expect(disk.files == (change < 3 ? [] : ["/log"]))
                if change >= 3 { #expect(disk.contents(of: "/log") == (change == 5 ? [1] : [])) }
            }
        }
    }

    @Test("files of a process that ended fail, and touch nothing of the next one's")
    func staleFiles() async throws {
        try await withDisk { world, disk in
            let old = world.boot()
            let file = try old.open("/log", create: true)
            try file.write([1], at: 0)
            world.process(of: NodeID(1))?.end(.killed)
            let new = world.boot()
            #expect(throws: FileError.self) { try file.write([2], at: 0) }
            #expect(throws: FileError.self) { try file.sync() }
            #expect(throws: FileError.self) { _ = try old.open("/log", create: false) }
            #expect(!old.exists("/log") && new.exists("/log"))
            #expect(disk.contents(of: "/log") == [1])
        }
    }

    @Test(
        "a lock is held alone, ends with its process, and a dead process's lock releases nobody else's"
    )
    func locks() async throws {
        try await withDisk { world, _ in
            let files = world.boot()
            let held = try files.lock("/lock")
            #expect(throws: FileError(operation: "lock", path: "/lock", errno: EWOULDBLOCK)) {
                _ = try files.lock("/lock")
            }
            held.unlock()
            let again = try files.lock("/lock")
            world.process(of: NodeID(1))?.end(.killed)
            let next = world.boot()
            let taken = try next.lock("/lock")
            again.unlock()
            #expect(throws: FileError.self) { _ = try next.lock("/lock") }
            withExtendedLifetime(taken) {}
        }
    }

    @Test("a bit can rot, in place, and a wiped disk is empty")
    func rotAndWipe() async throws {
        try await withDisk { world, disk in
            let file = try world.boot().open("/log", create: true)
            try file.write([0, 0], at: 0)
            #expect(disk.flipBit(3, at: 1, of: "/log"))
            #expect(!disk.flipBit(3, at: 2, of: "/log"))
            #expect(try file.read(at: 0, count: 2) == [0, 8])
            world.powerOff()
            disk.wipe()
            #expect(try world.boot().list("/") == [])
        }
    }

    @Test("blocking calls made on a loop are counted")
    func callsOnLoop() async throws {
        try await withDisk { world, disk in
            let process = world.start(NodeID(1))
            await process.loop.perform { _ = try? process.fileSystem.list("/") }
            #expect(disk.counts.callsOnLoop == 1)
            let worker = process.makeWorker()
            worker.submit({ _ = try? process.fileSystem.list("/") }, then: {}, on: process.loop)
            await worker.shutdown()
            #expect(disk.counts.callsOnLoop == 1)
        }
    }
}
