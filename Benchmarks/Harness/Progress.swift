import FlotillaIO

/// What a person sees while something runs: one line that changes on a terminal, plain lines elsewhere.
final class Progress: Sendable {
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

    /// A line that stays.
    func line(_ text: String) {
        state.withLock { state in
            let clear = state.hasLiveLine ? "\r\u{1B}[2K" : ""
            state.hasLiveLine = false
            Terminal.write(clear + text + "\n")
        }
    }

    /// What has happened, with the time since the start.
    func event(_ text: String) {
        let elapsed = (ContinuousClock.now - start).milliseconds / 1_000
        let tenths = rounded(elapsed, 1)
        let time = tenths.contains(".") ? tenths : tenths + ".0"
        line(
            Style.dim("[" + String(repeating: " ", count: max(0, 5 - time.count)) + time + " s]")
                + " " + text)
    }

    /// The line that the next call replaces.
    func update(_ text: @autoclosure () -> String) {
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
    func clear() {
        state.withLock { state in
            if state.hasLiveLine { Terminal.write("\r\u{1B}[2K") }
            state.hasLiveLine = false
        }
    }
}

/// Colours, where the reader wants them.
enum Style {
    private static let isOn = Terminal.usesColor(.output)
    static func bold(_ text: String) -> String { wrap(text, "1") }
    static func dim(_ text: String) -> String { wrap(text, "2") }
    static func red(_ text: String) -> String { wrap(text, "31") }
    static func green(_ text: String) -> String { wrap(text, "32") }
    static func yellow(_ text: String) -> String { wrap(text, "33") }
    private static func wrap(_ text: String, _ code: String) -> String {
        isOn ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
