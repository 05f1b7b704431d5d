import Testing

@testable import FlotillaRaft

@Suite struct LeaseTests {
    /// Three voters with a leader that has its lease. Everyone's ticks are equally long: `tick` is one of each.
    private struct Group {
        let cluster: Cluster
        let leader: ReplicaID
        let others: [ReplicaID]
        private var readCount: UInt64 = 0
        /// Reads that were answered in the same tick, and those that were answered with less than was committed.
        var promptCount = 0
        var staleCount = 0

        init(seed: UInt64) {
            cluster = Cluster(voters: 3, seed: seed) { $0.reads = .lease }
            while !cluster.ids.contains(where: { [cluster] in cluster.replicas[$0]!.role == .leader }) {
                cluster.tickAll()
            }
            leader = cluster.ids.first { [cluster] in cluster.replicas[$0]!.role == .leader }!
            others = cluster.ids.filter { [leader] in $0 != leader }
            cluster.propose(leader.rawValue, "first")
            cluster.tickAll(3)
        }

        /// Whoever else leads writes something; then the first leader is asked.
        mutating func tick() {
            cluster.tickAll()
            for other in others where cluster.replicas[other]!.role == .leader {
                cluster.propose(other.rawValue, "after")
                cluster.settle()
            }
            let floor = cluster.history.keys.max()!
            readCount += 1
            cluster[leader.rawValue].raft.readIndex(context: readCount)
            cluster.collect(leader)
            for state in cluster.replicas[leader]!.readStates where state.context == readCount {
                promptCount += 1
                if state.index < floor { staleCount += 1 }
            }
            cluster.replicas[leader]!.readStates = []
        }

        var otherLeads: Bool { others.contains { cluster.replicas[$0]!.role == .leader } }
    }

    private static let seeds: ClosedRange<UInt64> = 1...40

    @Test("a leader with a lease answers at once, and no more after an election timeout without answers")
    func promptAndBounded() {
        for seed in Self.seeds {
            var group = Group(seed: seed)
            for _ in 0..<5 { group.tick() }
            #expect(group.promptCount == 5, "seed \(seed)")
            group.cluster.isolate([group.leader.rawValue])
            for _ in 0..<60 { group.tick() }
            #expect(group.otherLeads, "seed \(seed)")
            #expect(group.promptCount > 5 && group.promptCount < 15, "seed \(seed): \(group.promptCount)")
            #expect(group.staleCount == 0, "seed \(seed)")
        }
    }

    @Test("a follower keeps its promise to the leader across a restart")
    func restart() {
        for seed in Self.seeds {
            var group = Group(seed: seed)
            let (witness, rival) = (group.others[0], group.others[1])
            // The rival hears nothing for so long that it campaigns as soon as somebody hears it.
            group.cluster.isolate([rival.rawValue])
            for _ in 0..<25 { group.tick() }
            group.cluster.crash(witness)
            group.cluster.restart(witness)
            group.cluster.isolate([group.leader.rawValue])
            for _ in 0..<60 { group.tick() }
            #expect(group.otherLeads && group.staleCount == 0, "seed \(seed): \(group.staleCount) stale reads")
        }
    }

    @Test("a later term alone releases nobody from its promise")
    func laterTerm() {
        let group = Group(seed: 1)
        let (witness, rival) = (group.others[0].rawValue, group.others[1].rawValue)
        let later = group.cluster[witness].term.rawValue + 4
        // An answer that comes too late, to what the witness sent in some reign of its own.
        group.cluster[witness].raft.step(
            Message(
                from: replica(rival), to: replica(witness), term: Term(later),
                body: .appendResponse(.init(index: .zero))))
        #expect(group.cluster[witness].leader == nil)
        for term in [later, later + 1] {
            group.cluster[witness].raft.step(
                Message(
                    from: replica(rival), to: replica(witness), term: Term(term),
                    body: .vote(.init(lastIndex: index(99), lastTerm: Term(later), isTransfer: false))))
        }
        #expect(group.cluster[witness].hardState.vote == nil)
        #expect(group.cluster[witness].term == Term(later))
        group.cluster[witness].raft.campaign()
        group.cluster[witness].raft.leaderLost()
        #expect(group.cluster[witness].role == .follower)
    }

    @Test("who was told to campaign may do so at any time, so that there is no lease any more")
    func transfer() {
        for seed in Self.seeds {
            var group = Group(seed: seed)
            let target = group.others[0]
            var told: Message?
            group.cluster.isLost = { message in
                if case .timeoutNow = message.body { told = message }
                return told == message
            }
            group.cluster[group.leader.rawValue].raft.transferLeadership(to: target)
            // The transfer is given up meanwhile; what was said is still on its way.
            for _ in 0..<15 { group.tick() }
            #expect(group.promptCount == 0, "seed \(seed)")
            group.cluster.isolate([group.leader.rawValue])
            group.cluster.deliver(told!)
            for _ in 0..<5 { group.tick() }
            #expect(group.otherLeads && group.staleCount == 0, "seed \(seed)")
        }
    }

    @Test("a lease starts when the heartbeat left, however late its answers come")
    func lateAnswers() {
        for seed in Self.seeds {
            var group = Group(seed: seed)
            let leader = group.leader
            var late: [Message] = []
            var isFirstTick = true
            group.cluster.isLost = { message in
                guard message.to == leader else { return false }
                if isFirstTick, case .heartbeatResponse = message.body { late.append(message) }
                return true
            }
            group.tick()
            isFirstTick = false
            for _ in 0..<7 { group.tick() }
            #expect(late.count == 2, "seed \(seed)")
            for message in late { group.cluster.deliver(message) }
            // Ten ticks are an election timeout: from the first heartbeat on, the lease is good for one more at most.
            group.tick()
            let answered = group.promptCount
            for _ in 0..<6 { group.tick() }
            #expect(group.promptCount == answered, "seed \(seed): \(group.promptCount - answered) too many")
            #expect(group.staleCount == 0, "seed \(seed)")
        }
    }

    @Test("going quiet ends a lease, because nobody's ticks count then")
    func quiet() {
        let cluster = Cluster(voters: 3) {
            $0.reads = .lease
            $0.quietAfterTicks = 3
        }
        cluster.tickAll(60)
        let leader = cluster.ids.first { cluster.replicas[$0]!.role == .leader }!
        #expect(cluster.replicas[leader]!.isQuiet)
        #expect(!cluster.replicas[leader]!.hasLease)
    }
}
