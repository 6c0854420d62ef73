import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// How much a broker and a client allocate. The limits are a little above what was counted; one
/// that is exceeded is a change to look at, and to raise only on purpose.
@Suite struct AllocationTests {
    /// For 1,000 batches, one in each request; for 10,000 records of `send`.
    private struct Limit {
        let broker: Int64
        let client: Int64
    }

    /// Without the optimizer more is allocated, in the broker also for each record that it checks.
    private static let debugLimits: [String: Limit] = [
        "produce": Limit(broker: 230_000, client: 115_000),
        "batches": Limit(broker: 130_000, client: 45_000),
        "records": Limit(broker: 130_000, client: 45_000),
        "send": Limit(broker: 60_000, client: 33_000),
        "send there": Limit(broker: 60_000, client: 33_000),
    ]
    private static let releaseLimits: [String: Limit] = [
        "produce": Limit(broker: 24_000, client: 32_000),
        "batches": Limit(broker: 27_000, client: 21_000),
        "records": Limit(broker: 27_000, client: 21_000),
        "send": Limit(broker: 12_000, client: 7_000),
        "send there": Limit(broker: 12_000, client: 7_000),
    ]

    @Test func `allocations stay below their limits, and none is per record`() throws {
        let figures = try count()
        let limits = Programs.areOptimized ? Self.releaseLimits : Self.debugLimits
        // For 90,000 records more in as many batches: half of one for each would be too much. How
        // often threads wake each other, which allocates a little, is a matter of luck.
        let none: Int64 = 45_000
        for path in ["produce", "batches", "records"] {
            let limit = try #require(limits[path])
            let few = try figure(figures, "\(path) few")
            let many = try figure(figures, "\(path) many")
            for found in [few, many] {
                #expect(found.broker <= limit.broker, "\(path): the broker")
                #expect(found.client <= limit.client, "\(path): the client")
            }
            #expect(
                many.broker - few.broker < (Programs.areOptimized ? none : none + 90_000),
                "\(path): the broker, per record")
            #expect(many.client - few.client < none, "\(path): the client, per record")
        }
        // Less than one per record, for whoever waits and wherever its task runs.
        for path in ["send", "send there"] {
            let limit = try #require(limits[path])
            let sent = try figure(figures, path)
            #expect(sent.broker <= limit.broker, "\(path): the broker")
            #expect(sent.client <= limit.client, "\(path): the client")
        }
    }

    private func figure(_ figures: JSONValue, _ name: String) throws -> Limit {
        let part = try #require(figures[name])
        return Limit(
            broker: try #require(part["broker"]?.integerValue),
            client: try #require(part["client"]?.integerValue))
    }

    /// Runs `martlet-allocations` against a broker, both with the counting allocator before the
    /// system's.
    private func count() throws -> JSONValue {
        let folder = try TemporaryDirectory("allocations")
        let library = folder.path("allocations.so")
        let compiled = try Programs.run(
            "/usr/bin/gcc", ["-O1", "-shared", "-fPIC", "-o", library, Programs.allocationsSource])
        try #require(compiled.ending == .exited(0), "\(compiled.errors)")
        func counting(_ file: String) -> [String: String] {
            ["LD_PRELOAD": library, "ALLOCATIONS_FILE": folder.path(file)]
        }
        let broker = try RunningBroker(in: folder, environment: counting("broker"))
        let run = try Programs.run(
            Programs.allocations,
            ["\(broker.listen)", folder.path("broker"), folder.path("client")],
            environment: counting("client"), seconds: 300)
        #expect(broker.end() == .exited(0))
        let line = run.output.split(separator: "\n").last ?? ""
        print("allocations: \(line)")
        try #require(run.ending == .exited(0), "\(run.output) \(run.errors)")
        return try JSONValue(parsing: String(line))
    }
}
