import MartletConfiguration
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletBroker

/// Reads that take long, and who waits behind them.
@Suite struct ReaderPoolTests {
    @Test func `short work waits for one read, and reads keep their order`() {
        let executors = (0..<2).map { ManualExecutor(clock: ManualClock(), label: "\($0)") }
        let pool = ReaderPool(executors)
        let order = Mutex<[String]>([])
        for number in 0..<6 { pool.read { order.withLock { $0.append("read \(number)") } } }
        for _ in 0..<2 { pool.next().execute { order.withLock { $0.append("short") } } }
        #expect(ManualExecutor.runAll(executors) > 8)
        #expect(
            order.withLock { $0 } == [
                "read 0", "read 1", "short", "short", "read 2", "read 3", "read 4", "read 5",
            ])
        pool.read { order.withLock { $0.append("read 6") } }
        ManualExecutor.runAll(executors)
        #expect(order.withLock { $0.last } == "read 6")
    }

    @Test func `short work goes where nothing is read`() {
        let executors = (0..<3).map { ManualExecutor(clock: ManualClock(), label: "\($0)") }
        let pool = ReaderPool(executors)
        for _ in 0..<2 { pool.read {} }
        let busy = executors.filter { $0.pendingCount > 0 }
        #expect(busy.count == 2)
        for _ in 0..<4 { pool.next().execute {} }
        #expect(busy.allSatisfy { $0.pendingCount == 1 })
        ManualExecutor.runAll(executors)
        // All of them are at nothing: short work goes round.
        for _ in 0..<3 { pool.next().execute {} }
        #expect(executors.allSatisfy { $0.pendingCount == 1 })
        ManualExecutor.runAll(executors)
    }

    @Test(arguments: [true, false])
    func `of a connection that is gone nothing more is read, and status is answered meanwhile`(
        verify: Bool
    ) throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(
            configure: { $0.storage.diskReaders = 2 }, setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 4)
        for partition in Int32(0)..<4 {
            try client.send(try produceFrame(topic, [makeBatch()], partition: partition))
            _ = try client.receive()
        }
        let gate = Latch()
        files.set {
            $0.isCold = true
            $0.readGate = gate
        }
        var request = fetchRequest(topic, from: 0)
        request.verify = verify
        request.partitions = (0..<4).map {
            FetchEntry(topic: topic, partition: $0, offset: 0, maxBytes: 1_000)
        }
        let peer = try harness.hello()
        try peer.send(try request.frame(correlation: 0))
        while files.faults.withLock({ $0.reads.isEmpty }) {
            #expect(try client.ask(PingRequest()).error == .none)
        }
        // One of the two queues waits for the disk.
        #expect(try client.ask(StatusRequest()).error == .none)
        for number in UInt64(1)..<20 { try peer.send(try request.frame(correlation: number)) }
        #expect(try peer.ask(PingRequest()).error == .none)
        peer.reset()
        while true {
            let text = PrometheusText.render(harness.registry)
            if text.contains("\nmartlet_broker_connections 1\n") { break }
            #expect(try client.ask(PingRequest()).error == .none)
        }
        gate.arrive()
        // Comes behind all that waits.
        try client.send(try request.frame(correlation: 1))
        #expect(try client.receive(FetchReply.self).1.partitions.count == 4)
        let reads = files.faults.withLock { $0.reads }
        // Two reads were under way, and this one asked for each partition, in a few reads at most.
        #expect(reads.filter { $0.hasSuffix("/1/00000000000000000000.log") }.count <= 4)
        #expect(reads.count <= 2 + 4 * 4, "\(reads)")
        try harness.stop()
    }
}
