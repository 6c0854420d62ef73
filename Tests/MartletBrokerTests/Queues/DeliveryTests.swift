import MartletBroker
import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

/// What a queue hands out waits for the disk only where something rests on it.
@Suite(.timeLimit(.minutes(1))) struct DeliveryTests {
    /// A queue `q` of two records of one key, of which the first is with a member, on a disk that
    /// syncs nothing until `gate` opens.
    private final class Bench {
        let harness: BrokerHarness
        let gate = Latch()
        private let files = FaultyFileSystem()
        private let holder: RawClient
        private let held: DeliveredRange
        let waiter: RawClient
        private let member: RawMember

        init(kind: UInt8) throws {
            harness = try BrokerHarness(setUp: { [files] in $0.fileSystem = files })
            holder = try harness.hello()
            let topic = try harness.makeTopic(holder)
            _ = try holder.produce(topic, makeKeyed(["k", "k"]))
            let first = RawMember(holder, 1, group: "q")
            #expect(try first.join(kind: kind) == .none)
            held = try #require(
                try holder.ask(Self.request(first, wait: 20_000)).delivered.first)
            #expect(held.range == OffsetRange(0, 1))
            waiter = try harness.hello()
            member = RawMember(waiter, 2, group: "q")
            #expect(try member.join(kind: kind) == .none)
            files.set { [gate] in $0.gate = gate }
        }

        private static func request(_ member: RawMember, wait: UInt32) -> ReceiveRequest {
            var request = ReceiveRequest()
            request.group = "q"
            request.member = member.id
            request.maxRecords = 1
            request.leaseMilliseconds = 60_000
            request.maxWaitMilliseconds = wait
            return request
        }

        /// Returns once the broker has taken it; it is not durable before the gate opens.
        func ack() throws {
            var entry = SettleEntry()
            (entry.topic, entry.partition) = (held.topic, held.partition)
            (entry.lane, entry.delivery) = (held.lane, held.delivery)
            (entry.range, entry.verb) = (held.range, 1)
            var request = SettleRequest()
            request.group = "q"
            request.entries = [entry]
            try holder.send(try request.frame(correlation: 1))
            try ping(holder)
        }

        /// Asks for the other record.
        func receive() throws {
            try waiter.send(try Self.request(member, wait: 20_000).frame(correlation: 2))
        }

        /// Whatever was to be told at once has been told before this is.
        func ping(_ client: RawClient) throws {
            for _ in 0..<3 { #expect(try client.ask(PingRequest()).error == .none) }
        }

        func isAcked() throws -> Bool {
            let (correlation, reply, _) = try holder.receive(SettleReply.self)
            return correlation == 1 && reply.results.map(\.error) == [.none]
        }

        /// What it asked for is the record behind.
        func hasOther() throws -> Bool {
            let (correlation, reply, _) = try waiter.receive(ReceiveReply.self)
            return correlation == 2 && reply.delivered.map(\.range) == [OffsetRange(1, 2)]
        }
    }

    @Test func `a delivery does not wait for what others have acked`() throws {
        let bench = try Bench(kind: 1)
        try bench.ack()
        try bench.receive()
        #expect(try bench.hasOther())
        bench.gate.arrive()
        #expect(try bench.isAcked())
        try bench.harness.stop()
    }

    @Test func `in order by key the next of a key waits until the ack is on the disk`() throws {
        let bench = try Bench(kind: 3)
        try bench.ack()
        try bench.receive()
        try bench.ping(bench.waiter)
        bench.gate.arrive()
        #expect(try bench.isAcked())
        #expect(try bench.hasOther())
        try bench.harness.stop()
    }
}
