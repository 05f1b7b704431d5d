import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

/// Entries that were acknowledged and cannot be read any more.
@Suite struct LogRepairTests {
    private static let directory = "/data"
    private static let first = "/data/log/00000001.seg"

    private func store(
        on files: PowerLossFileSystem, limit: UInt64 = 4096, acceptsLoss: Bool = false
    ) -> DiskLogStore {
        DiskLogStore(
            directory: Self.directory, fileSystem: files, segmentSizeLimit: limit, acceptsLoss: acceptsLoss)
    }

    private func open(_ contents: [String: [UInt8]]) throws -> StoredLog {
        try store(on: PowerLossFileSystem(contents)).openAndRead()
    }

    /// A log of several groups with what `fill` writes behind their first entries.
    private func written(
        limit: UInt64 = 4096, isClosed: Bool = true, _ fill: (DiskLogStore) throws -> Void = { _ in }
    ) throws -> [String: [UInt8]] {
        let files = PowerLossFileSystem()
        let store = store(on: files, limit: limit)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(
            LogBatch(
                .of(1, create: 1, hardState: HardState(term: Term(2)), sampleEntries(1...5, "first")),
                .of(2, create: 1, hardState: HardState(term: Term(1)), sampleEntries(1...3, "second")),
                .of(3, create: 1, hardState: HardState(term: Term(7), vote: ReplicaID(2)))))
        try store.write(
            LogBatch(
                .of(
                    1, hardState: HardState(term: Term(4), vote: ReplicaID(3), commit: LogIndex(6)),
                    sampleEntries(6...8, term: 4, "middle")),
                .of(2, hardState: HardState(term: Term(1), commit: LogIndex(4)), sampleEntries(4...6, "second"))))
        try store.write(
            LogBatch(
                .of(
                    1, hardState: HardState(term: Term(5), vote: ReplicaID(1), commit: LogIndex(8)),
                    sampleEntries(9...10, term: 5, "last"))))
        try fill(store)
        if isClosed { try store.close() }
        return files.contents
    }

    /// Turns a bit over in the first place where a file holds the text.
    private func damage(_ text: String, in contents: inout [String: [UInt8]], path: String = first) throws {
        let place = try #require(Self.place(of: text, in: contents[path] ?? []), "\(path) holds \(text)")
        contents[path]![place] ^= 0x10
    }

    private static func place(of text: String, in bytes: [UInt8]) -> Int? {
        let text = Array(text.utf8)
        return bytes.indices.dropLast(text.count).first { bytes[$0..<$0 + text.count].elementsEqual(text) }
    }

    @Test(
        "damaged entries in the middle cut their group's log alone, and cost no vote", arguments: [true, false])
    func middle(isClosed: Bool) throws {
        var contents = try written(isClosed: isClosed)
        let whole = Holdings(try open(contents))
        try damage("middle 7", in: &contents)
        let files = PowerLossFileSystem(contents)
        let log = try store(on: files).openAndRead()
        let holdings = Holdings(log)
        #expect(holdings.groups[0].entries == sampleEntries(1...5, "first"))
        #expect(
            holdings.groups[0].hardState == HardState(term: Term(5), vote: ReplicaID(1), commit: LogIndex(5)))
        #expect(holdings.groups[0].recoveringUntil == LogIndex(10))
        #expect(holdings.groups[1...] == whole.groups[1...])
        let found = try #require(log.damages.first)
        #expect(log.damages.count == 1 && found.isNeeded && found.group == GroupID(1))
        #expect(found.first == LogIndex(6) && found.last == LogIndex(8) && found.path == Self.first)
        #expect(log.keptFiles == ["/data/log/00000001.damaged"])
        // What was found is durable, and found once.
        files.losePower()
        let next = try store(on: files).openAndRead()
        #expect(Holdings(next) == holdings && next.damages.isEmpty && next.keptFiles == log.keptFiles)
    }

    @Test("a leader brings the replica past the end that it claimed, and it counts again")
    func refetched() throws {
        var contents = try written()
        try damage("middle 7", in: &contents)
        let files = PowerLossFileSystem(contents)
        let first = store(on: files)
        _ = try first.open()
        try first.write(
            LogBatch(
                .of(
                    1, hardState: HardState(term: Term(6), commit: LogIndex(9)),
                    sampleEntries(6...8, term: 4, "middle") + sampleEntries(9...9, term: 5, "last"))))
        files.losePower()
        let second = store(on: files)
        #expect(try second.openAndRead().groups[0].recoveringUntil == LogIndex(10))
        try second.write(LogBatch(.of(1, sampleEntries(10...10, term: 5, "last"))))
        files.losePower()
        let group = try store(on: files).openAndRead().groups[0]
        #expect(group.recoveringUntil == nil && group.entries.count == 10)
    }

    @Test("damage to what was kept behind a snapshot costs no vote: members that lag get the snapshot")
    func keptEntries() throws {
        var contents = try written { store in
            try store.write(
                LogBatch(.of(1, snapshot: sampleSnapshot(9, term: 5), keptFrom: LogIndex(4))))
        }
        #expect(try open(contents).groups[0].entries.map(\.index.rawValue) == Array(4...10))
        try damage("middle 7", in: &contents)
        let log = try open(contents)
        #expect(log.groups[0].entries == sampleEntries(10...10, term: 5, "last"))
        #expect(log.groups[0].outline.base == LogPosition(index: LogIndex(9), term: Term(5)))
        #expect(log.groups[0].recoveringUntil == nil && log.damages.map(\.isNeeded) == [false])
    }

    @Test("what a snapshot or later entries have replaced is not missed, and neither is a removed replica's")
    func obsolete() throws {
        let fills: [(String, (DiskLogStore) throws -> Void)] = [
            ("middle 7", { try $0.write(LogBatch(.of(1, snapshot: sampleSnapshot(8, term: 4)))) }),
            ("last 9", { try $0.write(LogBatch(.of(1, sampleEntries(9...9, term: 6, "other")))) }),
            ("last 10", { try $0.write(LogBatch(.of(1, sampleEntries(9...9, term: 6, "other")))) }),
            ("middle 7", { try $0.write(LogBatch(.of(1, isRemoved: true))) }),
        ]
        for (text, fill) in fills {
            var contents = try written(fill)
            let whole = Holdings(try open(contents))
            try damage(text, in: &contents)
            let log = try open(contents)
            #expect(Holdings(log) == whole, "\(text)")
            #expect(log.damages.count == 1 && log.damages[0].isNeeded == false)
            // The rest of the file is not trusted any longer all the same.
            #expect(log.keptFiles.count == 1)
        }
    }

    @Test("a last batch that may have been acknowledged costs only the groups whose entries are damaged")
    func ambiguousTail() throws {
        var contents = try written(isClosed: false) { store in
            try store.write(LogBatch(.of(1, sampleEntries(11...12, term: 5, "tail")), .of(2, sampleEntries(7...7))))
        }
        try damage("tail 11", in: &contents)
        let log = try open(contents)
        #expect(log.groups[0].entries.count == 10 && log.groups[0].recoveringUntil == LogIndex(12))
        #expect(log.groups[1].entries.count == 7 && log.groups[1].recoveringUntil == nil)
    }

    @Test("copies that are damaged after their original was deleted are fetched again; before, nothing is lost")
    func copies() throws {
        let files = PowerLossFileSystem()
        let store = store(on: files, limit: 600)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...3, "slow")), .of(2, create: 1)))
        var isCopied = false
        for index: UInt64 in 1...200 where !isCopied {
            try store.write(LogBatch(.of(2, [sampleEntry(index, "of a group that is busy")])))
            if index % 10 == 0 { try store.write(LogBatch(.of(2, snapshot: sampleSnapshot(index)))) }
            isCopied = files.contents[Self.first] == nil
        }
        try store.close()
        var contents = files.contents
        let path = try #require(
            contents.keys.sorted().first {
                $0.hasSuffix(".seg") && Self.place(of: "slow 2", in: contents[$0]!) != nil
            })
        try damage("slow 2", in: &contents, path: path)
        let log = try open(contents)
        #expect(log.groups[0].entries.isEmpty && log.groups[0].recoveringUntil == LogIndex(3))
        #expect(log.groups[1].recoveringUntil == nil)
    }

    @Test("a power failure at each change that a repair makes leaves a log that is repaired by the next start")
    func interrupted() throws {
        // Several segments, of which one in the middle is damaged, with live entries before and behind it.
        var contents = try written(limit: 500) { store in
            for index: UInt64 in 11...60 {
                try store.write(LogBatch(.of(1, sampleEntries(index...index, term: 5, "more"))))
            }
        }
        let names = contents.keys.filter { $0.hasSuffix(".seg") }.sorted()
        #expect(names.count > 4)
        let path = try #require(names.first { Self.place(of: "more 30", in: contents[$0]!) != nil })
        try damage("more 30", in: &contents, path: path)
        let undisturbed = PowerLossFileSystem(contents)
        let expected = Holdings(try store(on: undisturbed, limit: 500).openAndRead())
        #expect(expected.groups[0].entries.count == 29 && expected.groups[0].recoveringUntil == LogIndex(60))
        let changes = undisturbed.state.withLock { $0.changes }
        var positions = 0
        for unsynced in PowerLossFileSystem.Unsynced.allCases {
            for count in 0..<changes {
                let files = PowerLossFileSystem(contents)
                files.state.withLock { $0.changesLeft = count }
                #expect(throws: LogError.self) { try store(on: files, limit: 500).open() }
                files.losePower(unsynced: unsynced)
                let log = try store(on: files, limit: 500).openAndRead()
                let note: Comment = "\(count) changes, then \(unsynced)"
                #expect(Holdings(log) == expected, note)
                // A copy that was on its way may be damaged as well.
                #expect((1...2).contains(log.keptFiles.count), note)
                positions += 1
            }
        }
        print("repair interrupted: \(positions) of \(positions) positions")
    }

    @Test("of the files that were set aside the newest four are kept")
    func keptFiles() throws {
        var contents = try written()
        for round in 1...7 {
            let disk = PowerLossFileSystem(contents)
            let store = store(on: disk)
            _ = try store.open()
            try store.write(LogBatch(.of(UInt64(10 + round), create: 1, [sampleEntry(1, "round \(round)")])))
            try store.close()
            contents = disk.contents
            let path = try #require(contents.keys.filter { $0.hasSuffix(".seg") }.max())
            try damage("round \(round)", in: &contents, path: path)
        }
        let log = try open(contents)
        #expect(log.keptFiles.count == 4 && log.keptFiles == log.keptFiles.sorted())
    }

    // MARK: Nobody else

    /// The founder of a group that nobody joined, with five commands.
    private func founder(adding others: [ConfigurationChange] = []) throws -> [String: [UInt8]] {
        let files = PowerLossFileSystem()
        let store = store(on: files)
        _ = try store.open()
        try store.persistIdentity(sampleIdentity)
        let changes = [ConfigurationChange([.addVoter(NodeID(7))])] + others
        let founding = changes.enumerated().map { position, change in
            Entry(
                index: LogIndex(UInt64(position + 1)), term: Term(1), kind: .configuration,
                payload: change.encodedPayload())
        }
        try store.write(LogBatch(.of(1, create: 1, hardState: HardState(term: Term(1)), founding)))
        let start = UInt64(founding.count + 1)
        try store.write(
            LogBatch(
                .of(
                    1, hardState: HardState(term: Term(1), commit: LogIndex(start)),
                    sampleEntries(start...start + 4, "command"))))
        try store.close()
        return files.contents
    }

    @Test(
        "a group without other voters is refused by file, place, group, entries and command, until the loss is accepted"
    )
    func onlyVoter() throws {
        var contents = try founder()
        try damage("command 4", in: &contents)
        let error = try #require(throws: LogError.self) { try open(contents) }
        #expect(error.code == .damaged)
        for part in [Self.first, "byte ", "entries 2 to 6", "group 1", "flotilla storage repair DIR --accept-loss"] {
            #expect(error.message.contains(part), "\(part) in \(error.message)")
        }
        let files = PowerLossFileSystem(contents)
        let log = try store(on: files, acceptsLoss: true).openAndRead()
        #expect(log.groups[0].entries.count == 1 && log.groups[0].recoveringUntil == nil)
        #expect(log.groups[0].hardState.commit == LogIndex(1))
        files.losePower()
        #expect(try store(on: files).openAndRead().groups[0].entries.count == 1)
    }

    @Test("a voter that joined later, as far as the log tells, is one to recover from")
    func joinedLater() throws {
        let learner = ConfigurationChange([.addLearner(NodeID(8))])
        var contents = try founder(adding: [learner])
        try damage("command 5", in: &contents)
        #expect(throws: LogError.self) { try open(contents) }

        contents = try founder(adding: [learner, ConfigurationChange([.promote(ReplicaID(2))])])
        try damage("command 5", in: &contents)
        #expect(try open(contents).groups[0].recoveringUntil == LogIndex(8))
        // Nothing is accepted for a group that others can make whole.
        let log = try store(on: PowerLossFileSystem(contents), acceptsLoss: true).openAndRead()
        #expect(log.groups[0].recoveringUntil == LogIndex(8))
    }

    @Test("damage that is not in entries is refused, with the groups that it may concern")
    func heads() throws {
        var contents = try written()
        let place = try #require(Self.place(of: "middle 7", in: contents[Self.first]!))
        let header = try #require(
            contents[Self.first]!.indices.prefix(place).last {
                contents[Self.first]![$0..<$0 + 4].elementsEqual([0x46, 0x42, 0x41, 0x54])
            })
        contents[Self.first]![header + LogFormat.batchHeaderBytes + 3] ^= 1
        let error = try #require(throws: LogError.self) { try open(contents) }
        for part in [Self.first, "byte \(header)", "group 1, group 2, group 3", "flotilla node remove"] {
            #expect(error.message.contains(part), "\(part) in \(error.message)")
        }
    }

    @Test("damage is noted when data is verified, and repaired by the command, on real files")
    func tools() throws {
        try withTemporaryDirectory { directory in
            let files = PosixFileSystem()
            let data = directory + "/data"
            let store = DiskLogStore(directory: data, fileSystem: files)
            _ = try store.open()
            try store.persistIdentity(sampleIdentity)
            try store.write(LogBatch(.of(1, create: 1, sampleEntries(1...4, "entry")), .of(2, create: 1)))
            try store.close()
            let path = data + "/log/00000001.seg"
            let place = try #require(Self.place(of: "entry 3", in: try files.readWhole(path)))
            try files.open(path, create: false).write([0], at: UInt64(place))
            let report = try StorageVerification.run(on: data, files: files)
            #expect(report.problems.isEmpty && report.notes.count == 1)
            #expect(report.notes[0].contains(path) && report.notes[0].contains("entries 1 to 4 of group 1"))
            let log = try StorageRepair.run(on: data, files: files, acceptsLoss: false)
            #expect(log.groups[0].recoveringUntil == LogIndex(4) && log.damages.count == 1)
            #expect(files.exists(data + "/log/00000001.damaged") && !files.exists(path))
            #expect(try StorageVerification.run(on: data, files: files).notes.isEmpty)
            #expect(throws: LogError.self) {
                try StorageRepair.run(on: directory + "/none", files: files, acceptsLoss: false)
            }
        }
    }
}
