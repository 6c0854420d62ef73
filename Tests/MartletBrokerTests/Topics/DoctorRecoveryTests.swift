import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

/// What `martlet doctor` says of the last start.
@Suite struct DoctorRecoveryTests {
    @Test func `doctor shows that oldest log files were taken away`() throws {
        var harness = try BrokerHarness()
        let directory = harness.directory
        let topic: String
        do {
            let client = try harness.hello()
            let id = try harness.makeTopic(client, settings: [("segment.bytes", "65536")])
            topic = "\(id)"
            for _ in 0..<8 {
                #expect(try client.produce(id, makeBatch(2, bytes: 20_000)).error == .none)
            }
        }
        try harness.stop()
        try PosixFileSystem().removeFile(
            directory.path("data/topics/\(topic)/0/00000000000000000000.log"))
        harness = try BrokerHarness(directory: directory)
        let reply = try harness.hello().ask(DoctorRequest())
        let event = try #require(reply.recovery.first { $0.kind == "removed" })
        #expect(event.topic == "t" && event.from == 0 && event.to > 0)
        let finding = try #require(reply.findings.first { $0.code == "recovery-removed" })
        #expect(finding.severity == 1)
        try harness.stop()
    }
}
