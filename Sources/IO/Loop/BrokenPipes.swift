import Glibc

/// From the first call on, writing to a connection whose peer is gone is an error, not the end of the process.
func ignoreBrokenPipes() { _ = brokenPipesAreIgnored }

private let brokenPipesAreIgnored: Bool = {
    signal(SIGPIPE, SIG_IGN)
    return true
}()
