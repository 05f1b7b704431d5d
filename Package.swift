// swift-tools-version: 6.2
import PackageDescription

// Set by the Makefile and by CI; a dependent package never sees it.
let warningsAreErrors = Context.environment["FLOTILLA_WARNINGS_AS_ERRORS"] == "1"

// Set by `make mutants`: the package then contains the bugs that its tests must find, behind a switch.
let containsMutants = Context.environment["FLOTILLA_MUTANTS"] == "1"

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])
    + (containsMutants ? [.define("FLOTILLA_MUTANTS")] : [])

let package = Package(
    name: "flotilla",
    products: [
        .library(name: "Flotilla", targets: ["Flotilla"]),
        .library(name: "FlotillaSimulation", targets: ["FlotillaSimulation"]),
        .executable(name: "flotilla", targets: ["FlotillaExecutable"]),
        .executable(name: "flotilla-examples", targets: ["FlotillaExamples"]),
        .executable(name: "flotilla-bench", targets: ["FlotillaBenchmarks"]),
        .executable(name: "flotilla-simulate", targets: ["FlotillaExplorer"]),
    ],
    targets: [
        // MARK: IO: everything that touches a C library or a file descriptor
        .systemLibrary(
            name: "CLibuv", path: "Sources/IO/CLibuv", pkgConfig: "libuv",
            providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(
            name: "CHTTPParser", path: "Sources/IO/CHTTPParser",
            providers: [.apt(["libhttp-parser-dev"])]),
        .systemLibrary(
            name: "CISAL", path: "Sources/IO/CISAL", pkgConfig: "libisal",
            providers: [.apt(["libisal-dev"])]),
        .systemLibrary(
            name: "CCurl", path: "Sources/IO/CCurl", pkgConfig: "libcurl",
            providers: [.apt(["libcurl4-openssl-dev"])]),
        // Without pkgConfig, which would link the library: shim.h says why it is opened when it is needed.
        .systemLibrary(
            name: "CRocksDB", path: "Sources/IO/CRocksDB",
            providers: [.apt(["librocksdb-dev"])]),
        .systemLibrary(
            name: "CZstd", path: "Sources/IO/CZstd", pkgConfig: "libzstd",
            providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "CCrypto", path: "Sources/IO/CCrypto", pkgConfig: "libcrypto",
            providers: [.apt(["libssl-dev"])]),
        .target(
            name: "FlotillaIO",
            dependencies: ["CLibuv", "CHTTPParser", "CISAL", "CCurl", "CRocksDB", "CZstd", "CCrypto"],
            path: "Sources/IO", exclude: ["CLibuv", "CHTTPParser", "CISAL", "CCurl", "CRocksDB", "CZstd", "CCrypto"],
            swiftSettings: settings),

        // MARK: Actors: who holds state
        .target(name: "FlotillaRaft", path: "Sources/Actors/Raft", swiftSettings: settings),
        .target(
            name: "FlotillaActors", dependencies: ["FlotillaIO", "FlotillaRaft"],
            path: "Sources/Actors", exclude: ["Raft", "Protos"], swiftSettings: settings),

        // MARK: Runtime: what users touch
        .target(
            name: "Flotilla", dependencies: ["FlotillaIO", "FlotillaRaft", "FlotillaActors"],
            path: "Sources/Runtime", exclude: ["Simulation", "Executable"],
            swiftSettings: settings),
        .target(
            name: "CSimulationHook", path: "Sources/Runtime/Simulation/CSimulationHook",
            linkerSettings: [.linkedLibrary("dispatch")]),
        .target(
            name: "FlotillaSimulation",
            dependencies: [
                "FlotillaIO", "FlotillaRaft", "FlotillaActors", "Flotilla", "CSimulationHook",
            ],
            path: "Sources/Runtime/Simulation", exclude: ["CSimulationHook"],
            swiftSettings: settings),
        .executableTarget(
            name: "FlotillaExecutable", dependencies: ["Flotilla", "FlotillaIO"],
            path: "Sources/Runtime/Executable", swiftSettings: settings),

        .executableTarget(
            name: "FlotillaExamples", dependencies: ["Flotilla", "FlotillaIO"], path: "Examples",
            exclude: ["README.md"],
            swiftSettings: settings),

        // MARK: Benchmarks: node processes seen from outside, and the core alone
        .target(name: "CAllocations", path: "Benchmarks/CAllocations"),
        .executableTarget(
            name: "FlotillaBenchmarks",
            dependencies: ["FlotillaIO", "FlotillaRaft", "FlotillaActors", "Flotilla", "CAllocations"],
            path: "Benchmarks",
            exclude: [
                "orders.jsonl", "CAllocations", "Thresholds/swift-6.3.txt", "Peers/setup", "Peers/Programs",
                "Goals/measure", "Results",
                "README.md",
            ],
            swiftSettings: settings),

        // MARK: Scenarios: what simulations run, for the tests and for `flotilla-simulate`, which looks for new seeds
        .target(
            name: "FlotillaScenarios",
            dependencies: [
                "FlotillaIO", "FlotillaRaft", "FlotillaActors", "Flotilla", "FlotillaSimulation",
            ],
            path: "Tests/Scenarios", exclude: ["regressions.txt", "hashes.txt"], swiftSettings: settings),
        .executableTarget(
            name: "FlotillaExplorer", dependencies: ["FlotillaIO", "FlotillaScenarios", "FlotillaSimulation"],
            path: "Tests/Explorer", swiftSettings: settings),

        // MARK: Tests mirror the sources
        .target(name: "FlotillaTestSupport", path: "Tests/Support", swiftSettings: settings),
        .testTarget(
            name: "RaftTests", dependencies: ["FlotillaRaft"], path: "Tests/RaftTests",
            exclude: ["Conformance/Scenarios"],
            swiftSettings: settings),
        .testTarget(
            name: "IOTests", dependencies: ["FlotillaIO", "CLibuv"], path: "Tests/IOTests",
            swiftSettings: settings),
        .testTarget(
            name: "ActorsTests",
            dependencies: [
                "FlotillaIO", "FlotillaRaft", "FlotillaActors", "FlotillaSimulation", "FlotillaScenarios",
                "FlotillaTestSupport",
            ],
            path: "Tests/ActorsTests", swiftSettings: settings),
        .testTarget(
            name: "RuntimeTests",
            dependencies: [
                "FlotillaIO", "FlotillaRaft", "FlotillaActors", "Flotilla", "FlotillaSimulation",
                "FlotillaTestSupport",
            ],
            path: "Tests/RuntimeTests", swiftSettings: settings),
        .testTarget(
            name: "ScenarioTests",
            dependencies: [
                "FlotillaIO", "FlotillaRaft", "FlotillaActors", "FlotillaSimulation", "FlotillaScenarios",
                "FlotillaExplorer",
            ],
            path: "Tests/ScenarioTests", swiftSettings: settings),
        .testTarget(
            name: "ExampleTests",
            dependencies: ["FlotillaExamples", "Flotilla", "FlotillaIO", "FlotillaSimulation"],
            path: "Tests/ExampleTests", swiftSettings: settings),
        .testTarget(
            name: "BenchmarkTests", dependencies: ["Flotilla", "FlotillaBenchmarks", "FlotillaIO", "FlotillaRaft"],
            path: "Tests/BenchmarkTests", swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
