// swift-tools-version: 6.3
import PackageDescription

// The fuzzers: a package of their own, so that their flags never touch the product. `Sources` holds
// links to the product's modules; compiled in here they are in one package with the fuzzers, which
// is what `package` declarations ask for. Built and run by scripts/fuzz.

let instrumented: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    // Testing is enabled for what is internal to a module, such as the loaders of storage.
    .unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library", "-enable-testing"]),
]
let instrumentedC: [CSetting] = [
    .define("_GNU_SOURCE"),
    .unsafeFlags(["-fsanitize=fuzzer-no-link,address"]),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: instrumented)
}

let package = Package(
    name: "martlet-fuzz",
    targets: [
        .target(name: "CMartletShim", cSettings: instrumentedC),
        module("MartletFormat", ["CMartletShim"]),
        module("MartletSystem", ["CMartletShim"]),
        module("MartletJSON"),
        module("MartletConfiguration"),
        module("MartletTelemetry", ["MartletJSON"]),
        module("MartletWire", ["MartletFormat"]),
        module("MartletGroups", ["MartletFormat"]),
        module("MartletStorage", ["MartletFormat", "MartletSystem", "MartletTelemetry"]),
        module(
            "MartletClient",
            ["MartletFormat", "MartletSystem", "MartletTelemetry", "MartletJSON", "MartletWire"]),
        module(
            "MartletBroker",
            [
                "MartletFormat", "MartletSystem", "MartletTelemetry", "MartletConfiguration",
                "MartletJSON", "MartletWire", "MartletStorage", "MartletGroups",
            ]),
        .target(name: "CMartletFuzz", cSettings: instrumentedC),
        .executableTarget(
            name: "MartletFuzz",
            dependencies: [
                "CMartletFuzz", "MartletFormat", "MartletSystem", "MartletJSON",
                "MartletConfiguration", "MartletTelemetry", "MartletWire", "MartletStorage",
                "MartletBroker", "MartletClient",
            ],
            swiftSettings: instrumented,
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]
        ),
    ],
    swiftLanguageModes: [.v6]
)
