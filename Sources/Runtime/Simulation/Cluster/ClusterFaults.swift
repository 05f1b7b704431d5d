import FlotillaIO
import FlotillaRaft

// What can be done to the network, the machines and the disks. The defaults of all conditions are harmless ones.

extension SimulatedCluster {
    // MARK: Network

    /// Delay, loss, duplication and reordering of every link that has no conditions of its own.
    public var conditions: LinkConditions {
        get { world.links.conditions }
        set { world.links.conditions = newValue }
    }

    /// Sets the frames from one node to another apart from the rest; nil takes that back.
    public func setConditions(_ conditions: LinkConditions?, from: Int, to: Int) {
        guard areNodes([from, to]) else { return }
        world.links.setConditions(conditions, from: id(from), to: id(to))
    }

    /// Cuts the network between two sides, in both directions. Nodes of neither side reach both.
    public func partition(_ side: [Int], from other: [Int]) {
        guard areApart(side, other) else { return }
        note("partition of \(side) from \(other)", node: nil)
        cutAll(from: side, to: other)
        cutAll(from: other, to: side)
    }

    /// Cuts one direction: what `senders` send does not reach `receivers`, who are still heard.
    public func cut(from senders: [Int], to receivers: [Int]) {
        guard areApart(senders, receivers) else { return }
        note("cut from \(senders) to \(receivers)", node: nil)
        cutAll(from: senders, to: receivers)
    }

    /// Leaves each node only its neighbours in the given order: a chain, in which nobody reaches all, and of five
    /// nodes only the one in the middle reaches a majority in one hop on both sides.
    public func partitionIntoChain(_ chain: [Int]) {
        guard areNodes(chain) else { return }
        guard Set(chain).count == chain.count else { return fail("a node stands twice in the chain \(chain)") }
        note("partition into the chain \(chain)", node: nil)
        for (place, from) in chain.enumerated() {
            for (otherPlace, to) in chain.enumerated() where abs(place - otherPlace) > 1 {
                world.links.cut(from: id(from), to: id(to))
            }
        }
    }

    /// Takes back every cut and partition. Conditions stay as they are.
    public func heal() {
        note("network healed", node: nil)
        world.links.healAll()
    }

    /// Closes the connections between two nodes, whose next ones find them as they were.
    public func resetConnections(between a: Int, and b: Int) {
        guard areApart([a], [b]) else { return }
        note("connections between \(a) and \(b) are reset", node: nil)
        world.links.reset(id(a), id(b))
    }

    // MARK: Machines

    /// Stops a node's loop where it is, as a machine under memory pressure does. Its disk finishes what it was given;
    /// the code of workflows goes on until it needs the node.
    public func pause(_ number: Int) {
        guard let process = process(number) else { return }
        note("paused", node: number)
        process.pause()
    }

    /// Lets a paused node go on.
    public func resume(_ number: Int) {
        guard let process = process(number) else { return }
        note("goes on", node: number)
        process.resume()
    }

    /// Moves a node's wall clock, for good. Its monotonic clock does not notice.
    public func jumpWallClock(of number: Int, by offset: Duration) {
        guard areNodes([number]) else { return }
        note("wall clock jumps by \(offset)", node: number)
        world.jumpWallClock(of: id(number), by: offset)
    }

    /// Lets a node's clocks run at `rate` seconds per second of virtual time, for good; 1 is right.
    public func setClockRate(of number: Int, to rate: Double) {
        guard areNodes([number]) else { return }
        note("clocks run at \(rate) times their speed", node: number)
        world.setClockRate(of: id(number), to: rate)
    }

    // MARK: Disks

    /// A node's disk, which outlives its processes. Its members make it slow, full or failing, damage it, or put an old
    /// copy of it back.
    /// - Throws: `SimulationError` (`misuse`) where no node has the number.
    public func disk(_ number: Int) throws -> SimulatedDisk {
        guard nodes.contains(number) else { throw misuse(unknown(number)) }
        return world.disk(of: id(number))
    }

    // MARK: Below

    private func id(_ number: Int) -> NodeID { NodeID(UInt64(number)) }

    private func cutAll(from senders: [Int], to receivers: [Int]) {
        for from in senders { for to in receivers { world.links.cut(from: id(from), to: id(to)) } }
    }

    private func areApart(_ side: [Int], _ other: [Int]) -> Bool {
        guard areNodes(side + other) else { return false }
        guard let both = side.first(where: other.contains) else { return true }
        fail("node \(both) cannot be cut off from itself: \(side) and \(other)")
        return false
    }
}
