@testable import FlotillaRaft

// The directives about messages and storage.

extension InteractionScenario {
    // MARK: Storage

    mutating func processReady(_ position: Int) {
        let ready = nodes[position].takeReady()
        output.print(ready.text)
        if !nodes[position].isAsync {
            nodes[position].write(ready.hardState, ready.entries, ready.snapshot)
            nodes[position].apply(ready.committed)
            printEvents(position)
        }
        for message in ready.messages { post(message, position) }
        if nodes[position].isAsync { return }
        nodes[position].finish(ready)
        printEvents(position)
    }

    private mutating func post(_ message: InteractionMessage, _ position: Int) {
        switch message {
        case .append(let work, _): nodes[position].appendWork.append(work)
        case .apply(let entries, _): nodes[position].applyWork.append(entries)
        case .network, .own, .stored, .applied: messages.append(message)
        }
    }

    mutating func processAppendThread(_ position: Int) {
        if nodes[position].appendWork.isEmpty {
            output.print("no append work to perform\n")
            return
        }
        let work = nodes[position].appendWork.removeFirst()
        output.print("Processing:\n\(work.text(nodes[position].id))\n")
        nodes[position].write(work.hardState, work.entries, work.snapshot)
        if let receipt = work.silentReceipt { nodes[position].finishWrite(receipt) }
        output.print("Responses:\n" + work.responses.map { $0.text() + "\n" }.joined())
        messages += work.responses
    }

    mutating func processApplyThread(_ position: Int) {
        if nodes[position].applyWork.isEmpty {
            output.print("no apply work to perform\n")
            return
        }
        let entries = nodes[position].applyWork.removeFirst()
        let response = InteractionMessage.applied(entries, nodes[position].id)
        output.print("Processing:\n\(InteractionMessage.applyText(entries, nodes[position].id))\n")
        nodes[position].apply(entries)
        printEvents(position)
        output.print("Responses:\n\(response.text())\n")
        messages.append(response)
    }

    mutating func compact(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> Failure? {
        let position = try node(directive)
        guard directive.arguments.count == 2 else { throw directive.error("it takes a node and an index") }
        let index = LogIndex(try directive.number(directive.arguments[1].key))
        if index > nodes[position].raft.appliedIndex {
            throw directive.error("only \(nodes[position].raft.appliedIndex) is applied")
        }
        if !nodes[position].compact(through: index) {
            return Failure(text: "requested index is unavailable due to compaction")
        }
        output.print(nodes[position].diskText)
        return nil
    }

    mutating func sendSnapshot(_ directive: ScenarioFile.Directive) throws(ScenarioError) {
        let (from, to) = try pair(directive)
        guard let snapshot = nodes[from].snapshot else { throw directive.error("node \(from + 1) has no snapshot") }
        let message = Message(
            from: nodes[from].id, to: ReplicaID(UInt64(to + 1)), term: nodes[from].raft.term,
            body: .snapshot(snapshot))
        messages.append(.network(message))
        output.print(message.scenarioText() + "\n")
    }

    // MARK: Delivery

    mutating func deliver(_ directive: ScenarioFile.Directive) throws(ScenarioError) {
        let kind = try directive.value(of: "type")
        if let kind, !InteractionMessage.kinds.contains(kind) { throw directive.error("unknown message type \(kind)") }
        let delivered = try directive.bareNumbers()
        var count = 0
        for argument in directive.arguments where argument.key != "type" {
            if argument.values.isEmpty {
                count += deliver(to: ReplicaID(try directive.number(argument.key)), kind: kind, drops: false)
                continue
            }
            if argument.key != "drop" { throw directive.error("unknown argument '\(argument.key)'") }
            for value in argument.values {
                let id = try directive.number(value)
                if delivered.contains(id) { throw directive.error("messages to \(id) are both delivered and dropped") }
                count += deliver(to: ReplicaID(id), kind: kind, drops: true)
            }
        }
        if count == 0 { output.print("no messages\n") }
    }

    private mutating func deliver(to receiver: ReplicaID, kind: String? = nil, drops: Bool) -> Int {
        let batch = messages.filter { $0.matches(receiver, kind, drops: drops) }
        messages.removeAll { $0.matches(receiver, kind, drops: drops) }
        for message in batch {
            output.print((drops ? "dropped: " : "") + message.text() + "\n")
            if !drops { step(message) }
        }
        return batch.count
    }

    private mutating func step(_ message: InteractionMessage) {
        let position = Int(message.receiver.rawValue) - 1
        guard nodes.indices.contains(position) else { return }
        switch message {
        case .network(let message): step(message, position)
        case .own(let answer, _):
            if nodes[position].raft.configuration.node(of: nodes[position].id) == nil {
                output.print("raft: cannot step as peer not found\n")
            } else {
                logIfOutdated(answer, message.kind, position)
                withCore(position) { $0.handle(answer) }
            }
        case .stored(let stored, _):
            let line = nodes[position].finish(stored)
            printEvents(position)
            if let line { output.log(line) }
        case .applied(let entries, _):
            nodes[position].finishApplying(through: entries[entries.count - 1].index)
            printEvents(position)
        case .append, .apply: preconditionFailure("work for a storage thread is never in the network")
        }
    }

    private mutating func logIfOutdated(_ answer: OwnAnswer, _ kind: String, _ position: Int) {
        let own = nodes[position].raft.term
        let term = kind == "MsgPreVoteResp" ? answer.term.next : answer.term
        if term >= own { return }
        let me = nodes[position].id.hex
        let what = "ignored a \(kind) message with lower term from \(me)"
        output.log(.init(.info, "\(me) [term: \(own)] \(what) [term: \(term)]"))
    }

    private mutating func step(_ message: Message, _ position: Int) {
        if message.isResponse, nodes[position].raft.configuration.node(of: message.from) == nil {
            output.print("raft: cannot step as peer not found\n")
            return
        }
        guard case .forwardedProposal(let entries) = message.body else {
            withCore(position) { $0.step(message) }
            return
        }
        let last = nodes[position].raft.lastIndex
        nodes[position].raft.step(message)
        let change = entries.first { $0.kind == .configuration }.map { ProposedChange($0.payload) }
        let isRefusedChange = printEvents(position, change: change)
        if nodes[position].raft.lastIndex > last { return }
        if !isRefusedChange || propose(position, "") != nil { output.print(Self.proposalDropped.text + "\n") }
    }

    // MARK: Until nothing moves

    mutating func stabilize(_ positions: [Int]) {
        var moved = true
        while moved {
            moved = false
            for position in positions where nodes[position].hasReady {
                under("> \(position + 1) handling Ready") { $0.processReady(position) }
                moved = true
            }
            for position in positions {
                let receiver = nodes[position].id
                if !messages.contains(where: { $0.receiver == receiver }) { continue }
                under("> \(position + 1) receiving messages") { _ = $0.deliver(to: receiver, drops: false) }
                moved = true
            }
            for position in positions where !nodes[position].appendWork.isEmpty {
                under("> \(position + 1) processing append thread") { scenario in
                    while !scenario.nodes[position].appendWork.isEmpty { scenario.processAppendThread(position) }
                }
                moved = true
            }
            for position in positions where !nodes[position].applyWork.isEmpty {
                under("> \(position + 1) processing apply thread") { scenario in
                    while !scenario.nodes[position].applyWork.isEmpty { scenario.processApplyThread(position) }
                }
                moved = true
            }
        }
    }

    private mutating func under(_ title: String, _ body: (inout Self) -> Void) {
        output.print(title + "\n")
        output.increaseIndent()
        body(&self)
        output.decreaseIndent()
    }
}

extension InteractionMessage {
    fileprivate func matches(_ receiver: ReplicaID, _ kind: String?, drops: Bool) -> Bool {
        self.receiver == receiver && !(drops && isLocal) && (kind == nil || kind == self.kind)
    }
}
