public import FlotillaActors
public import FlotillaIO
public import FlotillaRaft

// The few types of the layers below that users name. The layers themselves are not re-exported: their names
// (`Network`, `Operation`, `Entry`) would get in the way of others.

/// A machine of the fleet, named by its operator, from 1 on.
public typealias NodeID = FlotillaRaft.NodeID
/// How groups behave in time and space; see `NodeConfiguration.groups`.
public typealias GroupSettings = FlotillaActors.GroupSettings
/// Where log lines go; its levels are those of swift-log. See `NodeConfiguration.logger`.
public typealias FlotillaLogger = FlotillaIO.FlotillaLogger
/// Who leads a group, as one node knows it.
public typealias LeaderChange = FlotillaActors.LeaderChange
