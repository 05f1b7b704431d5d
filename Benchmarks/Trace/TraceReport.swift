import FlotillaIO

/// What a trace of all nodes says about starts that were acknowledged: whether the entry was made durable on a majority
/// before the answer left.
///
/// One tracer follows all nodes, and each thread stands still at the beginning and at the end of a call until the
/// tracer has written that down. So a call that ends on an earlier line than another begins has done its work before
/// the other does any, whichever nodes they belong to: the order of the lines is evidence, without trust in clocks.
/// The times only say how far apart they were.
///
/// Only files and answers are looked at. That a follower says it has the entry proves nothing here.
struct TraceReport {
    /// A start that a node answered with 201.
    struct Start: Hashable, Sendable {
        var id: String
        /// What stands in its log entry, and in no other, as strace prints it.
        var mark: String
    }

    /// One start that was answered in order.
    struct Passed: Hashable, Sendable {
        var durableNodes: Int
        /// From the end of the fdatasync that completed the majority to the beginning of the answer's write.
        var lead: Duration
    }

    let nodeCount: Int
    private(set) var passed: [Passed] = []
    /// What was wrong, a line for each start.
    private(set) var violations: [String] = []

    /// Nothing checked is nothing shown.
    var isShown: Bool { !passed.isEmpty && violations.isEmpty }

    /// - Parameter logDirectories: of each node, without symbolic links.
    init(_ starts: [Start], in calls: [SystemCall], logDirectories: [String]) {
        nodeCount = logDirectories.count
        let majority = nodeCount / 2 + 1
        let logs = logDirectories.map { NodeLog($0, calls) }
        let answers = calls.filter(\.isAnswer)
        for start in starts {
            guard let answer = answers.first(where: { $0.mentions(start.id) }) else {
                violations.append("\(start.id): its answer is not in the trace")
                continue
            }
            let entries = logs.map { $0.writes(of: start) }
            let ends = zip(logs, entries).compactMap { log, writes in
                log.durable(writes).flatMap { $0.line < answer.begin.line ? $0 : nil }
            }.sorted { $0.line < $1.line }
            if ends.count >= majority {
                passed.append(
                    Passed(
                        durableNodes: ends.count,
                        lead: answer.begin.time - ends[majority - 1].time))
            } else {
                violations.append(
                    "\(start.id): when it was answered, an fdatasync of its entry had ended on \(ends.count) of "
                        + "\(nodeCount) nodes (the whole trace has its entry in the logs of "
                        + "\(entries.count { !$0.isEmpty }))")
            }
        }
    }

    var table: String {
        var table = TextTable(["", ""], rightAligned: [1])
        let checked = passed.count + violations.count
        table.add(["starts checked", "\(checked)"])
        table.add([
            "with fdatasync on a majority before the answer", "\(passed.count) of \(checked)",
        ])
        table.add([
            "  even on all \(nodeCount) nodes",
            "\(passed.count { $0.durableNodes == nodeCount }) of \(checked)",
        ])
        let leads = passed.map(\.lead)
        table.add([
            "from that fdatasync to the answer, median", Statistics.median(leads)?.short ?? "-",
        ])
        table.add(["  least", leads.min()?.short ?? "-"])
        return table.text
    }
}

/// What one node did to the files of its log.
private struct NodeLog {
    private let writes: [SystemCall]
    private let syncs: [SystemCall]

    init(_ directory: String, _ calls: [SystemCall]) {
        let own = calls.filter { $0.file.hasPrefix(directory + "/") }
        writes = own.filter(\.isCompleteWrite)
        syncs = own.filter(\.isCompleteSync)
    }

    func writes(of start: TraceReport.Start) -> [SystemCall] {
        writes.filter { $0.mentions(start.mark) }
    }

    /// The first end of a sync that began after one of `writes` to the same file had ended.
    func durable(_ writes: [SystemCall]) -> SystemCall.Moment? {
        syncs.filter { sync in
            writes.contains { write in
                guard write.file == sync.file, let end = write.end else { return false }
                return end.line < sync.begin.line
            }
        }.compactMap(\.end).min { $0.line < $1.line }
    }
}

extension SystemCall {
    /// Whether all of it was written. The log writes with these two calls only.
    fileprivate var isCompleteWrite: Bool {
        (name == "pwrite64" || name == "write") && end != nil && result != nil
            && result == requested
    }

    fileprivate var isCompleteSync: Bool {
        (name == "fdatasync" || name == "fsync") && end != nil && result == 0
    }

    /// Whether bytes of a "201 Created" leave. When the call begins counts, whatever becomes of it.
    fileprivate var isAnswer: Bool {
        Tracer.socketCalls.contains(name) && !file.hasPrefix("/") && mentions("HTTP/1.1 201 ")
    }
}
