import MartletConfiguration
import MartletSystem
import MartletTelemetry
import MartletWire
import Testing

@testable import MartletBroker

/// What becomes of `memory.bytes.max` where the process may have less.
@Suite struct MemoryLimitTests {
    private static let mebibyte = 1 << 20

    @Test(arguments: [
        // Setting, room, what holds, whether that is less than it should be: all in MiB.
        (0, 1_024, 256, false), (0, 100, 32, false), (0, 40, 20, true), (512, 2_048, 512, false),
        (8, 2_048, 32, false), (2_048, 2_048, 1_024, true), (1_024, 0, 0, true),
    ])
    func `it is at most half of the room`(
        setting: Int, room: Int, holds: Int, isLimited: Bool
    ) {
        let sink = LogCapture()
        var configuration = BrokerConfiguration()
        configuration.listener.memoryBytesMax = setting * Self.mebibyte
        var limits = BrokerLimits(configuration)
        limits.fit(
            MemoryRoom(bytes: Int64(room * Self.mebibyte), limit: "data size"),
            Logger(label: "test", level: .warning, sink: sink))
        #expect(limits.memoryBytesMax == holds * Self.mebibyte)
        #expect((limits.memoryBytesMax < limits.memoryBytesWanted) == isLimited)
        #expect(limits.poolBytesMax <= room * Self.mebibyte / 8)
        #expect(sink.codes == (isLimited ? ["MEMORY_LIMITED"] : []))
    }

    @Test func `log, metric and doctor tell of it, once`() throws {
        let sink = LogCapture()
        var configuration = BrokerConfiguration()
        configuration.listener.memoryBytesMax = 1_024 * Self.mebibyte
        let wanted = configuration.listener.memoryBytesMax
        let harness = try BrokerHarness(
            configure: { $0.listener.memoryBytesMax = wanted },
            setUp: {
                $0.logger = Logger(label: "test", level: .warning, sink: sink)
                $0.memoryRoom = { MemoryRoom(bytes: 256 << 20, limit: "control group") }
            })
        harness.broker.reload(configuration)
        let told = sink.events.filter { $0.code.description == "MEMORY_LIMITED" }
        #expect(told.count == 1)
        #expect(told.first?["bytes"] == .integer(128 << 20))
        #expect(told.first?["configured"] == .integer(Int64(wanted)))
        #expect(told.first?["limit"] == .string("control group"))
        let metric = "\nmartlet_broker_memory_max_bytes \(128 << 20)\n"
        #expect(PrometheusText.render(harness.registry).contains(metric))
        let client = try harness.hello()
        let reply = try client.ask(DoctorRequest())
        #expect(reply.findings.contains { $0.code == "memory-limit" })
        #expect(reply.figures.contains { $0.name == "memory.max" && $0.value == 128 << 20 })
        try harness.stop()
    }
}
