import FlotillaIO

/// A file that was a segment and may be one again.
struct SpareFile: Hashable {
    var name: String
    var fileBytes: UInt64
}

/// Beginning, leaving and giving back segments.
extension DiskLog {
    /// How many files wait at most; more would only take space.
    private static let maximumSpares = 2

    /// Begins a new segment with a checkpoint, seals the one before, and gives back what has become obsolete.
    /// - Throws: `diskFull`, and then nothing has changed; anything else ends the use of this log.
    func startSegment() throws(LogError) {
        guard let identity else { preconditionFailure("\(directory) has no identity") }
        let previous = segments.last
        let header = SegmentHeader(
            number: (previous?.number ?? 0) + 1, id: makeSegmentID(), instance: identity.instance,
            previousEnd: previous?.end ?? 0, firstSequence: nextSequence)
        let checkpoint = table.checkpoint
        var heads = ProtobufWriter()
        for replica in checkpoint.replicas { LogHeads.encode(replica, into: &heads) }
        for removed in checkpoint.removed { LogHeads.encode(removed: removed, into: &heads) }
        var bytes = header.encoded
        BatchHeader.append(
            .checkpoint, sequence: nextSequence, heads: heads.bytes, body: [], segment: header.id,
            offset: UInt64(bytes.count), to: &bytes)
        let name = LogFormat.segmentName(header.number)
        let draft = try writeDraft(bytes, of: name)
        try io { () throws(FileError) in
            try draft.file.sync()
            try files.rename(draft.path, to: name, in: logDirectory)
            if let previous { try seal(previous, sequence: nextSequence) }
        }
        file = draft.file
        let end = UInt64(bytes.count - LogFormat.terminatorBytes)
        segments.append(
            LogSegment(number: header.number, id: header.id, end: end, fileBytes: draft.fileBytes))
        nextSequence += 1
        try removeDeadSegments()
        do throws(LogError) {
            try copyOutOldSegments()
        } catch {
            // The segment is begun; old ones are emptied when there is room again.
            guard error.code == .diskFull else { throw error }
        }
        preludeEnd = segments[segments.count - 1].end
    }

    private struct Draft {
        var path: String
        var file: any File
        var fileBytes: UInt64
    }

    /// Writes a segment's first bytes to a spare file if there is one, or else to a new one.
    private func writeDraft(_ bytes: [UInt8], of name: String) throws(LogError) -> Draft {
        let spare = spares.last
        let path = "\(logDirectory)/" + (spare?.name ?? name + SealedFile.temporarySuffix)
        do throws(LogError) {
            let file = try growing { () throws(FileError) in
                let file = try files.open(path, create: spare == nil)
                if spare == nil { try file.truncate(to: 0) }
                return file
            }
            let room = UInt64(bytes.count + LogFormat.sealBytes)
            let size = try lengthen(file, from: spare?.fileBytes ?? 0, toHold: room)
            try growing { () throws(FileError) in try file.write(bytes, at: 0) }
            if spare != nil { spares.removeLast() }
            return Draft(path: path, file: file, fileBytes: size)
        } catch {
            // A part of it takes space that others may use; a failure to remove it is found at the next open.
            if spare == nil, error.code == .diskFull { try? files.remove(path) }
            throw error
        }
    }

    /// Writes a segment's last record: from now on its successor must exist.
    func seal(_ segment: LogSegment, sequence: UInt64) throws(FileError) {
        var bytes: [UInt8] = []
        BatchHeader.append(
            .seal, sequence: sequence, heads: [], body: [], segment: segment.id,
            offset: segment.end, to: &bytes)
        let file = try files.open(
            "\(logDirectory)/\(LogFormat.segmentName(segment.number))", create: false)
        try file.write(bytes, at: segment.end)
        try file.sync()
    }

    /// Gives back the oldest segments as long as nothing in them is live.
    func removeDeadSegments() throws(LogError) {
        while segments.count > 1, table.usage[segments[0].number] == nil || mutated(.deletesSegmentInUse) {
            let segment = segments[0]
            let path = "\(logDirectory)/\(LogFormat.segmentName(segment.number))"
            try io { () throws(FileError) in
                if damagedSegments.contains(segment.number) {
                    try files.rename(path, to: "\(logDirectory)/\(LogFormat.damagedName(segment.number))")
                } else if spares.count < Self.maximumSpares, isReusable(segment.fileBytes) {
                    let name = LogFormat.spareName(segment.number)
                    try files.rename(path, to: "\(logDirectory)/\(name)")
                    spares.append(SpareFile(name: name, fileBytes: segment.fileBytes))
                } else {
                    try files.remove(path)
                }
                // Before the next one goes, for a gap would look like a loss, and before this one is written to.
                if !mutated(.deletesSegmentsWithoutSync) { try files.syncDirectory(logDirectory) }
            }
            segments.removeFirst()
        }
    }

    /// One huge batch must not take its space for ever.
    private func isReusable(_ fileBytes: UInt64) -> Bool { fileBytes <= 2 * segmentSizeLimit + Self.growthMax }

    /// Notes which spare files there are, and removes those that are too many.
    func findSpares() throws(LogError) {
        try io { () throws(FileError) in
            for name in try files.list(logDirectory) where name.hasSuffix(LogFormat.spareSuffix) {
                let path = "\(logDirectory)/\(name)"
                let size = try files.open(path, create: false).size
                if spares.count < Self.maximumSpares, isReusable(size) {
                    spares.append(SpareFile(name: name, fileBytes: size))
                } else {
                    try files.remove(path)
                }
            }
        }
    }
}
