/// What came of one history.
enum Outcome: Hashable, Sendable {
    case passed(nanoseconds: UInt64, steps: UInt64, hash: UInt64)
    case failed(String)

    /// What a line of a worker that tells an outcome begins with; other lines are what the history itself has printed.
    static let mark = "\u{1}"

    /// One line, whatever the message.
    var line: String {
        switch self {
        case .passed(let nanoseconds, let steps, let hash): "\(Self.mark)passed \(nanoseconds) \(steps) \(hash)"
        case .failed(let message): "\(Self.mark)failed " + message.split(separator: "\n").joined(separator: Self.mark)
        }
    }

    init?(line: some StringProtocol) {
        guard line.hasPrefix(Self.mark) else { return nil }
        let text = line.dropFirst(Self.mark.count)
        if text.hasPrefix("failed ") {
            let lines = text.dropFirst("failed ".count).split(separator: "\u{1}", omittingEmptySubsequences: false)
            self = .failed(lines.joined(separator: "\n"))
            return
        }
        let words = text.split(separator: " ")
        guard words.count == 4, words[0] == "passed", let nanoseconds = UInt64(words[1]), let steps = UInt64(words[2]),
            let hash = UInt64(words[3])
        else { return nil }
        self = .passed(nanoseconds: nanoseconds, steps: steps, hash: hash)
    }
}
