import Glibc
import Testing

@testable import FlotillaBenchmarks

/// The fleet's executable, and those of other products, are built beside the tests.
func nodeExecutable(_ name: String = "flotilla") throws -> String {
    let bundle = try #require(CommandLine.arguments.first { $0.hasSuffix(".xctest") })
    let path = bundle.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/\(name)"
    try #require(access(path, X_OK) == 0, "there is no \(path); swift build --build-tests makes it")
    return path
}
