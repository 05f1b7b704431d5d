import Glibc

/// What standard output and error can show, and the way to write to them. Each write is one call, so that lines of
/// several threads do not mix.
package enum Terminal {
    /// A stream that a person or a file reads.
    package enum Stream: Int32, Sendable {
        case output = 1
        case error = 2
    }

    package static func isInteractive(_ stream: Stream) -> Bool { isatty(stream.rawValue) == 1 }

    /// Colours are for terminals, unless the reader said NO_COLOR (no-color.org) or the terminal is a dumb one.
    package static func usesColor(_ stream: Stream) -> Bool {
        isInteractive(stream) && (environment("NO_COLOR") ?? "").isEmpty
            && environment("TERM") != "dumb"
    }

    /// Columns of the terminal; 80 where there is none.
    package static func width(_ stream: Stream) -> Int {
        var size = winsize()
        guard ioctl(stream.rawValue, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
            return 80
        }
        return Int(size.ws_col)
    }

    /// Writes all of `text`; what the reader no longer takes is dropped.
    package static func write(_ text: String, to stream: Stream = .output) {
        var text = text
        text.withUTF8 { buffer in
            var written = 0
            while written < buffer.count {
                let count = Glibc.write(
                    stream.rawValue, buffer.baseAddress! + written, buffer.count - written)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return }
                written += count
            }
        }
    }

    package static func writeLine(_ line: String, to stream: Stream = .output) {
        write(line + "\n", to: stream)
    }

    package static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }
}
