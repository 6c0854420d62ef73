import MartletBroker
import MartletFormat
import MartletStorage
import MartletTestSupport
import MartletWire
import Testing

/// What is kept of the registrations of producers.
@Suite struct ProducerRegistryTests {
    private static let limit = 4

    private func open(_ directory: TemporaryDirectory? = nil) throws -> BrokerHarness {
        try BrokerHarness(directory: directory, limits: { $0.producersMax = Self.limit })
    }

    /// The offsets of the registrations that are there.
    private func kept(_ harness: BrokerHarness) throws -> Range<Int64> {
        let topic = try #require(harness.broker.engine.topic(named: "$producers"))
        let view = try #require(topic.partition(0)).view
        return view.logStart..<view.logEnd
    }

    /// The ids among these that the broker knows.
    private func known(_ client: RawClient, _ ids: Range<Int64>) throws -> [Int64] {
        try ids.filter { id in
            var request = InitProducerRequest()
            request.producerID = id
            request.producerEpoch = 9
            let reply = try client.ask(request)
            if reply.message.contains("never got epoch") { return true }
            #expect(reply.error == .unknownProducer)
            return false
        }
    }

    @Test func `registrations that no start would remember go`() throws {
        var harness = try open()
        let directory = harness.directory
        var next: Int64 = 0
        func register(_ count: Int) throws {
            let client = try harness.hello()
            for _ in 0..<count {
                #expect(try client.ask(InitProducerRequest()).producerID == next)
                next += 1
            }
        }
        func restart() throws {
            try harness.stop()
            harness = try open(directory)
        }
        try register(7)
        try restart()
        #expect(try kept(harness) == 0..<7, "too few to go are kept")
        // The oldest one that is known is known by a later record.
        var bump = InitProducerRequest()
        (bump.producerID, bump.producerEpoch) = (3, 0)
        #expect(try harness.hello().ask(bump).producerEpoch == 1)
        next += 1
        try register(2)
        for _ in 0..<2 {
            try restart()
            #expect(try kept(harness) == 6..<10)
            #expect(try known(try harness.hello(), 0..<10) == [3, 6, 8, 9])
        }
        try register(1)
        try harness.stop()
    }
}
