// swift-tools-version: 6.3
import PackageDescription

// The rules that hold for every Swift target. No package dependencies, ever: `dependencies` stays
// absent. The layer rule (arrows only go down) is docs/ARCHITECTURE.md; MartletTidyTests holds the
// `import` lines to it.
let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(
    _ name: String,
    _ dependencies: [Target.Dependency],
    exclude: [String] = []
) -> Target {
    .testTarget(
        name: name,
        dependencies: dependencies + ["MartletTestSupport"],
        exclude: exclude,
        swiftSettings: swiftSettings
    )
}

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martletd", targets: ["martletd"]),
        .executable(name: "martlet", targets: ["martlet"]),
        .library(name: "MartletClient", targets: ["MartletClient"]),
        .library(name: "MartletTesting", targets: ["MartletTesting"]),
    ],
    targets: [
        // 0 leaves
        .target(name: "CMartletShim", cSettings: [.define("_GNU_SOURCE")]),
        library("MartletFormat", ["CMartletShim"]),
        library("MartletSystem", ["CMartletShim"]),
        library("MartletJSON"),
        library("MartletConfiguration"),
        library("MartletTelemetry", ["MartletJSON"]),

        // 1 the parts
        library("MartletWire", ["MartletFormat"]),
        library("MartletGroups", ["MartletFormat"]),
        library("MartletStorage", ["MartletFormat", "MartletSystem", "MartletTelemetry"]),

        // 2 the two ends
        library(
            "MartletBroker",
            [
                "MartletFormat", "MartletSystem", "MartletTelemetry", "MartletConfiguration",
                "MartletJSON", "MartletWire", "MartletStorage", "MartletGroups",
            ]
        ),
        library(
            "MartletClient",
            ["MartletFormat", "MartletSystem", "MartletTelemetry", "MartletJSON", "MartletWire"]
        ),
        library(
            "MartletTesting",
            [
                "MartletBroker", "MartletClient", "MartletConfiguration", "MartletSystem",
                "MartletTelemetry",
            ]
        ),

        // 4 executables
        .executableTarget(
            name: "martletd",
            dependencies: [
                "MartletBroker", "MartletConfiguration", "MartletJSON", "MartletSystem",
                "MartletTelemetry",
            ],
            swiftSettings: swiftSettings
        ),
        .executableTarget(
            name: "martlet",
            dependencies: [
                "MartletClient", "MartletConfiguration", "MartletFormat", "MartletJSON",
                "MartletStorage", "MartletSystem", "MartletTelemetry", "MartletWire",
            ],
            swiftSettings: swiftSettings
        ),

        // A user's service: the program behind `scripts/demo`.
        .executableTarget(
            name: "flights",
            dependencies: ["MartletClient"],
            path: "examples/flights",
            exclude: ["README.md", "airlines.csv", "flights-2013-01.csv.gz"],
            swiftSettings: swiftSettings
        ),
        // The program in README.md.
        .executableTarget(
            name: "quickstart",
            dependencies: ["MartletClient"],
            path: "examples/quickstart",
            swiftSettings: swiftSettings
        ),

        // tests
        .target(
            name: "MartletTestSupport",
            dependencies: ["MartletFormat", "MartletSystem"],
            path: "Tests/Support",
            swiftSettings: swiftSettings
        ),
        // Takes a real broker down over and over (scripts/campaign).
        .executableTarget(
            name: "martlet-verify",
            dependencies: ["MartletClient", "MartletJSON", "MartletSystem", "MartletTestSupport"],
            path: "Tests/Verify",
            swiftSettings: swiftSettings
        ),
        // Counts what broker and client allocate (AllocationTests).
        .executableTarget(
            name: "martlet-allocations",
            dependencies: ["MartletClient", "MartletJSON", "MartletSystem"],
            path: "Tests/Allocations",
            swiftSettings: swiftSettings
        ),
        tests(
            "MartletFormatTests",
            ["MartletFormat", "MartletJSON", "MartletSystem"],
            exclude: ["Golden"]
        ),
        tests("MartletSystemTests", ["MartletSystem"]),
        tests("MartletTelemetryTests", ["MartletTelemetry", "MartletJSON"]),
        tests("MartletConfigurationTests", ["MartletConfiguration"]),
        tests("MartletJSONTests", ["MartletJSON"]),
        tests("MartletWireTests", ["MartletWire", "MartletFormat"]),
        tests(
            "MartletStorageTests",
            [
                "MartletStorage", "MartletFormat", "MartletSystem", "MartletTelemetry",
                "MartletClient", "MartletWire",
            ],
            exclude: ["Golden"]
        ),
        tests("MartletGroupsTests", ["MartletGroups", "MartletFormat", "MartletSystem"]),
        tests(
            "MartletBrokerTests",
            [
                "MartletBroker", "MartletWire", "MartletFormat", "MartletSystem", "MartletStorage",
                "MartletConfiguration", "MartletTelemetry", "MartletTesting", "MartletClient",
                "MartletGroups", "MartletJSON",
            ]
        ),
        tests(
            "MartletClientTests",
            [
                "MartletClient", "MartletWire", "MartletFormat", "MartletSystem", "MartletTesting",
                "MartletTelemetry",
            ]
        ),
        tests(
            "MartletCommandTests",
            [
                "martlet", "MartletClient", "MartletConfiguration", "MartletJSON",
                "MartletTesting", "MartletWire",
            ]
        ),
        tests("MartletEndToEndTests", ["MartletSystem", "MartletJSON"]),
        tests(
            "MartletTidyTests",
            [
                "MartletBroker", "MartletClient", "MartletFormat", "MartletJSON", "MartletStorage",
                "MartletWire",
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)
