import FlotillaActors
import FlotillaRaft

extension WorkflowState {
    /// How many runs of a type, whatever its version, have not ended.
    func unfinishedCount(ofType name: String) -> Int {
        unfinishedByType.filter { $0.key.name == name }.reduce(0) { $0 + $1.value }
    }

    /// The limits are those of the node that the start came by; they are counted here, so that starts that come at once
    /// by several nodes do not pass together.
    func checkLimits(_ start: WorkflowOperation.StartRun) throws(Refused) {
        guard !mutated(.admitsAboveLimits) else { return }
        guard start.runLimit == 0 || unfinishedCount < start.runLimit else {
            throw Refused(
                .overLimit,
                "\(unfinishedCount) workflows of this cluster have not ended, and there may be \(start.runLimit); try "
                    + "again when some have")
        }
        guard start.typeLimit > 0 else { return }
        let count = unfinishedCount(ofType: start.type.name)
        guard count < start.typeLimit else {
            throw Refused(
                .overLimit,
                "\(count) workflows '\(start.type.name)' of this cluster have not ended, and there may be "
                    + "\(start.typeLimit); try again when some have")
        }
    }
}
