/// Counters of one scheduler since it started.
public struct SchedulerMetrics: Sendable {
    public var passes: UInt64 = 0
    public var messagesIn: UInt64 = 0
    public var messagesOut: UInt64 = 0
    public var framesDropped: UInt64 = 0
    /// Messages for a group or replica that is not hosted here.
    public var unknownGroups: UInt64 = 0
    /// Peers that answered that they do not host a group.
    public var unknownGroupAnswers: UInt64 = 0
    public var logBatches: UInt64 = 0
    public var logEntries: UInt64 = 0
    /// Pages of the log that were read because their entries were not in memory any more.
    public var logReads: UInt64 = 0
}
