/// What a simulated disk holds: every file and directory twice, as the process sees it and as it would be after the
/// power failed.
enum DiskNode {
    case file(DiskFile)
    case directory(DiskDirectory)

    func isSame(_ other: DiskNode) -> Bool {
        switch (self, other) {
        case (.file(let a), .file(let b)): a === b
        case (.directory(let a), .directory(let b)): a === b
        case (.file, .directory), (.directory, .file): false
        }
    }
}

final class DiskDirectory {
    var current: [String: DiskNode] = [:]
    var durable: [String: DiskNode] = [:]

    /// What is durable in it, as if it had been read after a power failure. A file under two names stays one file.
    func durableCopy(_ copied: inout [ObjectIdentifier: DiskFile]) -> DiskDirectory {
        let copy = DiskDirectory()
        for (name, node) in durable {
            switch node {
            case .directory(let directory): copy.durable[name] = .directory(directory.durableCopy(&copied))
            case .file(let file):
                let known = copied[ObjectIdentifier(file)] ?? DiskFile(holding: file.durable)
                copied[ObjectIdentifier(file)] = known
                copy.durable[name] = .file(known)
            }
        }
        copy.current = copy.durable
        return copy
    }
}

/// A disk's durable content at some moment; see `SimulatedDisk.copy`.
public struct DiskCopy: @unchecked Sendable {
    // Unchecked: never changed; it is copied again when it is put in place.
    let root: DiskDirectory
}

/// A change of directories that is not durable yet.
enum EntryChange {
    case link(DiskDirectory, String, DiskNode)
    case unlink(DiskDirectory, String)
    case rename(DiskDirectory, String, to: DiskDirectory, String, DiskNode)

    var directories: [DiskDirectory] {
        switch self {
        case .link(let directory, _, _), .unlink(let directory, _): [directory]
        case .rename(let from, _, let to, _, _): [from, to]
        }
    }

    func applyToDurable() {
        switch self {
        case .link(let directory, let name, let node): directory.durable[name] = node
        case .unlink(let directory, let name): directory.durable[name] = nil
        case .rename(let from, let name, let to, let newName, let node):
            from.durable[name] = nil
            to.durable[newName] = node
        }
    }
}

final class DiskFile {
    enum Change {
        case write(offset: Int, bytes: ArraySlice<UInt8>)
        case truncate(size: Int)
    }
    private(set) var current: [UInt8] = []
    private(set) var durable: [UInt8] = []
    /// In order, what `current` has and `durable` has not.
    private(set) var pending: [Change] = []

    init(holding bytes: [UInt8] = []) {
        current = bytes
        durable = bytes
    }

    func make(_ change: Change) {
        Self.apply(change, to: &current)
        pending.append(change)
    }

    func sync() {
        for change in pending { Self.apply(change, to: &durable) }
        pending = []
    }

    /// A failed fsync: the system throws the changes away as if they had been written (as Linux does;
    /// Rebello et al., "Can Applications Recover from fsync Failures?", 2020). A second sync succeeds
    /// and saves nothing.
    func failSync() { pending = [] }

    /// Lets `select` say how much of each pending change gets to the disk after all, then shows what is there.
    /// It answers nil for none of it, or a number of bytes of a write.
    func losePower(_ select: (Change) -> Int?) {
        for change in pending {
            guard let count = select(change) else { continue }
            switch change {
            case .write(let offset, let bytes):
                Self.apply(.write(offset: offset, bytes: bytes.prefix(count)), to: &durable)
            case .truncate:
                Self.apply(change, to: &durable)
            }
        }
        pending = []
        current = durable
    }

    func flip(bit: UInt8, at offset: Int) {
        if offset < durable.count { durable[offset] ^= 1 << bit }
        if offset < current.count { current[offset] ^= 1 << bit }
    }

    private static func apply(_ change: Change, to content: inout [UInt8]) {
        switch change {
        case .write(let offset, let bytes):
            // A write of nothing does not extend the file.
            guard !bytes.isEmpty else { return }
            if content.count < offset + bytes.count {
                content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
            }
            // Not `replaceSubrange`, which a debug build does byte by byte.
            content.withUnsafeMutableBytes { content in
                bytes.withUnsafeBytes {
                    content.baseAddress!.advanced(by: offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
                }
            }
        case .truncate(let size):
            if size < content.count {
                content.removeLast(content.count - size)
            } else {
                content += [UInt8](repeating: 0, count: size - content.count)
            }
        }
    }
}
