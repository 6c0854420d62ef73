import MartletBroker
import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletStorage

/// Damage to what the broker knows of its producers.
@Suite struct ProducerDamageTests {
    private let disk = PosixFileSystem()

    /// The directory of `$producers`: the only topic that is there.
    private func home(_ directory: TemporaryDirectory) throws -> String {
        let topics = directory.path("data/topics")
        let names = try disk.list(topics).filter { !$0.contains(".") }
        #expect(names.count == 1)
        return "\(topics)/\(try #require(names.first))"
    }

    @Test func `a rotten registration costs its producer and not the start`() throws {
        var harness = try BrokerHarness()
        let directory = harness.directory
        var ids: [Int64] = []
        do {
            let client = try harness.hello()
            for _ in 0..<3 { ids.append(try client.ask(InitProducerRequest()).producerID) }
        }
        try harness.stop()
        // The last byte of the second of three batches of one size.
        let path = "\(try home(directory))/0/00000000000000000000.log"
        let file = try disk.open(path, .readWrite)
        let size = try file.size()
        #expect(size % 3 == 0)
        let rot = ByteSlab(capacity: 1)
        rot.append(UInt8(0x55))
        try file.write(rot, at: size / 3 * 2 - 1)

        for _ in 0..<2 {
            harness = try BrokerHarness(directory: directory)
            let client = try harness.hello()
            var bump = InitProducerRequest()
            bump.producerID = ids[1]
            #expect(try client.ask(bump).error == .unknownProducer)
            for id in [ids[0], ids[2]] {
                bump.producerID = id
                bump.producerEpoch = 1
                // Known, and never of that epoch.
                #expect(try client.ask(bump).message.contains("never got epoch"))
            }
            #expect(try client.ask(InitProducerRequest()).producerID > ids[2])
            try harness.stop()
        }
    }

    @Test func `producer ids do not begin anew when their topic cannot be read`() throws {
        var harness = try BrokerHarness()
        let directory = harness.directory
        let first = try harness.hello().ask(InitProducerRequest()).producerID
        try harness.stop()
        let home = try home(directory)
        let path = "\(home)/topic.meta"
        let whole = try disk.contents(of: path, atMost: 1 << 20)
        try disk.open(path, .readWrite).truncate(to: 20)
        for _ in 0..<2 {
            let refused = #expect(throws: BrokerError.self) {
                try BrokerHarness(directory: directory)
            }
            #expect(refused?.description.contains("topic.meta") == true)
            #expect(try self.home(directory) == home)
        }
        let mended = ByteSlab(capacity: whole.count)
        for byte in whole { mended.append(byte) }
        try disk.open(path, .readWrite).write(mended, at: 0)
        harness = try BrokerHarness(directory: directory)
        let client = try harness.hello()
        #expect(try client.ask(InitProducerRequest()).producerID > first)
        try harness.stop()
    }
}
