public import FlotillaActors
public import FlotillaIO
public import FlotillaRaft

// The few types of the layers below that users name. The layers themselves are not re-exported: their names
// (`Network`, `Operation`, `Entry`) would get in the way of others.

public typealias NodeID = FlotillaRaft.NodeID
public typealias GroupSettings = FlotillaActors.GroupSettings
public typealias FlotillaLogger = FlotillaIO.FlotillaLogger
public typealias LeaderChange = FlotillaActors.LeaderChange
