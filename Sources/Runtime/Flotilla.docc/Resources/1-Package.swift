// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "shop",
    dependencies: [.package(path: "../flotilla")],
    targets: [
        .executableTarget(name: "shop", dependencies: [.product(name: "Flotilla", package: "flotilla")]),
        .testTarget(
            name: "ShopTests",
            dependencies: [
                "shop", .product(name: "Flotilla", package: "flotilla"),
                .product(name: "FlotillaSimulation", package: "flotilla"),
            ]),
    ]
)
