import FlotillaIO
public import FlotillaRaft

// A leader adds a member only once its node has learned, in the term that it leads, whom management wants now. Otherwise a
// new leader with an old view could add a node again whose departure the leader before had confirmed; whoever comes under
// that node's id afterwards, without data, would be taken for the replica that it was.

/// How far a leader is with making sure of management's wish.
struct MembershipWish {
    /// The last term in which it asked, and the last in which it had an answer.
    private(set) var askedIn = Term.zero
    private(set) var knownIn = Term.zero

    /// - Returns: whether the question is new.
    mutating func ask(in term: Term) -> Bool {
        defer { askedIn = term }
        return askedIn != term
    }

    mutating func learn(in term: Term) { knownIn = max(knownIn, term) }
}

extension RaftGroup {
    /// Whether a member may be added now; asks for what is missing. Nobody is asked where no management stands above.
    func mayAddMembers() -> Bool {
        let term = core.status.term
        if wish.knownIn == term || mutated(.addsByOldWishes) { return true }
        guard let ask = context.wishHandler else { return true }
        if wish.ask(in: term) { ask(identity.group, term) }
        return false
    }
}

extension NodeCore {
    /// - Parameter handler: called on the loop when a group that leads here wants to add a member: `confirmWish` is to
    ///   follow with the same term, once `setDesired` has been called with what management wants then or later.
    public func setWishHandler(_ handler: @escaping @Sendable (GroupID, Term) -> Void) {
        context.setWishHandler(handler)
    }

    /// What this node knows of management's wish is newer than the beginning of that term.
    public func confirmWish(of id: GroupID, in term: Term) {
        loop.execute { [hosted, scheduler] in
            guard let group = hosted[id] else { return }
            let leads = group.assumeOnLoop { group in
                // Who leads no more is not woken: its leader may be quiet, and would be missed.
                guard group.core.status.role == .leader, group.core.status.term == term else { return false }
                group.wish.learn(in: term)
                group.core.wake()
                return true
            }
            if leads { scheduler.assumeOnLoop { $0.markDirty(group) } }
        }
    }
}
