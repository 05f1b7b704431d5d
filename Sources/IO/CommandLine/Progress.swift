/// What a person sees while something runs: one line that changes on a terminal, plain lines elsewhere.
package final class Progress: Sendable {
    /// How often a changing line is repeated where it cannot be overwritten.
    private static let plainInterval: Duration = .seconds(2)

    private struct State {
        var hasLiveLine = false
        var lastPlain: ContinuousClock.Instant?
        var lastText = ""
    }
    private let state = Lock(State())
    private let isLive = Terminal.isInteractive(.output)
    private let start = ContinuousClock.now

    package init() {}

    /// A line that stays.
    package func line(_ text: String) {
        state.withLock { state in
            let clear = state.hasLiveLine ? "\r\u{1B}[2K" : ""
            state.hasLiveLine = false
            Terminal.write(clear + text + "\n")
        }
    }

    /// What has happened, with the time since the start.
    package func event(_ text: String) {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        let time = "\(seconds).\(attoseconds / 100_000_000_000_000_000)"
        line(
            Style.dim("[" + String(repeating: " ", count: max(0, 5 - time.count)) + time + " s]")
                + " " + text)
    }

    /// The line that the next call replaces.
    package func update(_ text: @autoclosure () -> String) {
        state.withLock { state in
            if isLive {
                let text = text().prefix(max(20, Terminal.width(.output) - 1))
                guard text != state.lastText || !state.hasLiveLine else { return }
                state.lastText = String(text)
                state.hasLiveLine = true
                return Terminal.write("\r\u{1B}[2K" + text)
            }
            let now = ContinuousClock.now
            if let last = state.lastPlain, now - last < Self.plainInterval { return }
            state.lastPlain = now
            Terminal.writeLine("          " + text())
        }
    }

    /// Removes the changing line.
    package func clear() {
        state.withLock { state in
            if state.hasLiveLine { Terminal.write("\r\u{1B}[2K") }
            state.hasLiveLine = false
        }
    }
}

/// Colours, where the reader wants them.
package enum Style {
    private static let isOn = Terminal.usesColor(.output)
    package static func bold(_ text: String) -> String { wrap(text, "1") }
    package static func dim(_ text: String) -> String { wrap(text, "2") }
    package static func red(_ text: String) -> String { wrap(text, "31") }
    package static func green(_ text: String) -> String { wrap(text, "32") }
    package static func yellow(_ text: String) -> String { wrap(text, "33") }
    private static func wrap(_ text: String, _ code: String) -> String {
        isOn ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
