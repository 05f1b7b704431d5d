import FlotillaIO

/// What is done about segments with damaged entries, after the loss itself is recorded.
extension DiskLog {
    /// How many files with damage are kept at most, the newest.
    private static let maximumDamagedFiles = 4

    /// Copies what is live out of all segments up to the last damaged one, and sets the damaged ones aside: where one
    /// sector has gone the next may follow. What a crash or a full disk interrupts, the next start does.
    func emptyDamagedSegments() throws(LogError) {
        guard let last = damagedSegments.max() else { return }
        do throws(LogError) {
            while segments.count > 1, segments[0].number <= last { try emptyOldestSegment() }
        } catch {
            guard error.code == .diskFull else { throw error }
        }
    }

    /// Removes older files with damage.
    /// - Returns: the paths of the others.
    func keepNewestDamagedFiles() throws(LogError) -> [String] {
        try io { () throws(FileError) in
            let names = try files.list(logDirectory).filter { $0.hasSuffix(LogFormat.damagedSuffix) }.sorted()
            for name in names.dropLast(Self.maximumDamagedFiles) { try files.remove("\(logDirectory)/\(name)") }
            return names.suffix(Self.maximumDamagedFiles).map { "\(logDirectory)/\($0)" }
        }
    }
}
