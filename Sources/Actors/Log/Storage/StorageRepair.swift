public import FlotillaIO
import FlotillaRaft

/// Repairs a stopped node's log as far as that is possible without its peers: what a start of the node does before it
/// takes part in anything, and on the operator's word what a start refuses.
public enum StorageRepair {
    /// Blocks.
    /// - Parameter acceptsLoss: whether groups that have no other voter go on without damaged entries, and without
    ///   everything behind them.
    /// - Returns: what the log holds now.
    /// - Throws: `missing` where no node's data is, `inUse`, `otherFormat` for RocksDB, and whatever a start of the node
    ///   would: `damaged`, `missing`, `unknownVersion`, `ioFailed`, `diskFull`.
    public static func run(
        on directory: String, files: any FileSystem, acceptsLoss: Bool
    ) throws(LogError) -> RecoveredLog {
        let format = try DataDirectory.existingFormat(of: directory, files: files)
        guard format == .log else {
            throw LogError(
                .otherFormat,
                "\(directory) holds data in the format \(format), which has no record of whose entries are damaged: "
                    + "remove this node from the cluster (flotilla node remove ID), empty the directory and start it "
                    + "with --join")
        }
        let store = DiskLogStore(directory: directory, fileSystem: files, acceptsLoss: acceptsLoss)
        let recovered = try store.open()
        try store.close()
        return recovered
    }
}
