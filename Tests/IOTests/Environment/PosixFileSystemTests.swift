import FlotillaIO
import Glibc
import Testing

@Suite struct PosixFileSystemTests {
    private let files = PosixFileSystem()

    private func withTemporaryDirectory(_ body: (String) throws -> Void) throws {
        var template = Array("/tmp/flotilla-io-XXXXXX".utf8CString)
        let path = String(cString: try #require(mkdtemp(&template)))
        defer { removeTree(path) }
        try body(path)
    }

    private func removeTree(_ path: String) {
        for name in (try? files.list(path)) ?? [] { removeTree("\(path)/\(name)") }
        remove(path)
    }

    @Test("a file reads back what was written at each offset, and less at its end")
    func readAndWrite() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/file"
            #expect(!files.exists(path))
            let file = try files.open(path, create: true)
            try file.write([1, 2, 3, 4], at: 0)
            try file.write([9, 9], at: 3)
            try file.write([], at: 100)
            try file.write([5], at: 7)
            #expect(try file.size == 8)
            #expect(try file.read(at: 0, count: 100) == [1, 2, 3, 9, 9, 0, 0, 5])
            #expect(try file.read(at: 3, count: 2) == [9, 9])
            #expect(try file.read(at: 50, count: 2) == [])
            try file.truncate(to: 2)
            try file.sync()
            #expect(try files.open(path, create: false).read(at: 0, count: 10) == [1, 2])
            #expect(files.exists(path))
        }
    }

    @Test(
        "directories are created with their parents, listed in order, and files renamed and removed"
    )
    func directories() throws {
        try withTemporaryDirectory { directory in
            let deep = directory + "/a/b//c"
            try files.createDirectory(deep)
            try files.createDirectory(deep)
            for name in ["zeta", "alpha", "beta.tmp"] {
                _ = try files.open(deep + "/" + name, create: true)
            }
            try files.rename(deep + "/beta.tmp", to: deep + "/beta")
            try files.remove(deep + "/zeta")
            try files.syncDirectory(deep)
            #expect(try files.list(deep) == ["alpha", "beta"])
            #expect(try files.list(directory) == ["a"])
        }
    }

    @Test("a failed call says what was tried, on which path, and why")
    func failures() throws {
        try withTemporaryDirectory { directory in
            let missing = directory + "/missing"
            let error = try #require(throws: FileError.self) {
                try files.open(missing, create: false)
            }
            #expect(error == FileError(operation: "open", path: missing, errno: ENOENT))
            #expect(error.description == "open \(missing): No such file or directory")
            #expect(throws: FileError.self) { try files.list(missing) }
            #expect(throws: FileError.self) { try files.remove(missing) }
            #expect(throws: FileError.self) { try files.rename(missing, to: missing + "2") }
            #expect(throws: FileError.self) { try files.syncDirectory(missing) }
            _ = try files.open(missing, create: true)
            let notADirectory = try #require(throws: FileError.self) {
                try files.createDirectory(missing + "/sub")
            }
            #expect(notADirectory.errno == ENOTDIR && notADirectory.path == missing)
        }
    }

    @Test("a lock excludes others until it is given back or released")
    func lock() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/LOCK"
            let first = try files.lock(path)
            let conflict = try #require(throws: FileError.self) { try files.lock(path) }
            #expect(conflict.isLockConflict)
            first.unlock()
            first.unlock()
            var second: (any FileLock)? = try files.lock(path)
            #expect(throws: FileError.self) { try files.lock(path) }
            withExtendedLifetime(second) {}
            second = nil
            try files.lock(path).unlock()
        }
    }

    @Test("a lock that was given back is free, though a process that is being started has its descriptor still")
    func lockAndFork() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/LOCK"
            let lock = try files.lock(path)
            let copy = try #require(try descriptors(of: path).first.map { dup($0) })
            defer { close(copy) }
            lock.unlock()
            try files.lock(path).unlock()
        }
    }

    private func descriptors(of path: String) throws -> [Int32] {
        try files.list("/proc/self/fd").compactMap { name in
            var target = [UInt8](repeating: 0, count: 4096)
            let count = readlink("/proc/self/fd/\(name)", &target, target.count)
            return count > 0 && String(decoding: target.prefix(count), as: UTF8.self) == path ? Int32(name) : nil
        }
    }
}
