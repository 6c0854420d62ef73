import MartletBroker
import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// A broker in this process, on a folder of its own and a free port.
final class BrokerHarness {
    let broker: Broker
    let directory: TemporaryDirectory
    let registry: MetricsRegistry

    init(
        directory: TemporaryDirectory? = nil, admin: Bool = false,
        configure: (inout BrokerConfiguration) -> Void = { _ in },
        setUp: (inout BrokerSetup) -> Void = { _ in },
        limits: @escaping @Sendable (inout BrokerLimits) -> Void = { _ in }
    ) throws {
        self.directory = try directory ?? TemporaryDirectory("broker")
        var configuration = BrokerConfiguration()
        configuration.listener.listen = HostPort(host: "127.0.0.1", port: 0)
        configuration.admin.listen = HostPort(host: "127.0.0.1", port: 0)
        configuration.storage.data = self.directory.path("data")
        configuration.storage.diskFreeLowBytes = 0
        configuration.storage.diskReserveBytes = 0
        configuration.storage.ioQueues = 2
        configuration.listener.connectionRateMax = 100_000
        configuration.listener.connectionsPerAddressMax = 4_096
        configure(&configuration)
        var setup = BrokerSetup(configuration)
        setup.servesAdmin = admin
        setup.adjustLimits = { all in
            all.lingerMilliseconds = 200
            limits(&all)
        }
        setUp(&setup)
        registry = setup.registry
        broker = try Broker.start(setup)
    }

    var port: UInt16 { broker.address.port }

    func stop() throws {
        try broker.stop()
    }

    /// A connection that has said nothing yet.
    func connect(receiveBufferBytes: Int? = nil) throws -> RawClient {
        try RawClient(port: port, receiveBufferBytes: receiveBufferBytes)
    }

    /// A connection that has said hello.
    func hello(receiveBufferBytes: Int? = nil) throws -> RawClient {
        let client = try connect(receiveBufferBytes: receiveBufferBytes)
        let reply = try client.ask(HelloRequest())
        #expect(reply.error == .none)
        return client
    }

    /// Makes a topic and returns its id.
    func makeTopic(
        _ client: RawClient, _ name: String = "t", partitions: Int32 = 1,
        settings: [(String, String)] = []
    ) throws -> TopicID {
        var request = CreateTopicRequest()
        request.name = name
        request.partitions = partitions
        request.settings = settings.map { TopicSettingChange($0.0, $0.1) }
        let reply = try client.ask(request)
        #expect(reply.error == .none, "\(reply.message)")
        return reply.id
    }
}

/// A batch of `count` records whose values have `bytes` bytes each.
func makeBatch(
    _ count: Int = 1, bytes: Int = 10, fill: UInt8 = 0x61, producerID: Int64 = -1,
    epoch: Int16 = -1, sequence: Int32 = -1, time: Int64 = 1_700_000_000_000
) -> [UInt8] {
    let slab = ByteSlab(capacity: 128 + count * (bytes + 64))
    let builder = RecordBatchBuilder(slab: slab)
    let value = ByteSlab(capacity: max(bytes, 1))
    for _ in 0..<bytes { value.append(fill) }
    for _ in 0..<count {
        _ = builder.append(key: nil, value: value.bytes, headers: [], timestamp: time)
    }
    _ = builder.finish(producerID: producerID, producerEpoch: epoch, baseSequence: sequence)
    return unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe [UInt8]($0) }
}

/// A produce request's whole frame.
func produceFrame(
    _ topic: TopicID, _ batches: [[UInt8]], partition: Int32 = 0, acks: Acks = .durable,
    correlation: UInt64 = 1, timeout: UInt32 = 0
) throws -> [UInt8] {
    var request = ProduceRequest()
    request.acks = acks.rawValue
    request.timeoutMilliseconds = timeout
    request.batches = batches.map {
        ProduceEntry(topic: topic, partition: partition, recordsLength: UInt32($0.count))
    }
    return try request.frame(correlation: correlation) + batches.flatMap { $0 }
}

func fetchRequest(
    _ topic: TopicID, from offset: Int64, partition: Int32 = 0, wait: UInt32 = 0,
    minBytes: UInt32 = 1, maxBytes: UInt32 = 1_000_000
) -> FetchRequest {
    var request = FetchRequest()
    request.maxWaitMilliseconds = wait
    request.minBytes = minBytes
    request.maxBytes = maxBytes
    request.partitions = [
        FetchEntry(topic: topic, partition: partition, offset: offset, maxBytes: maxBytes)
    ]
    return request
}

/// One batch; a record for each key, nil for none.
func makeKeyed(_ keys: [String?]) -> [UInt8] {
    let slab = ByteSlab(capacity: 128 + keys.count * 128)
    let builder = RecordBatchBuilder(slab: slab)
    for key in keys {
        let bytes = key.map { Array($0.utf8) }
        _ = unsafe builder.append(
            key: bytes?.span.bytes, value: Array("value".utf8).span.bytes, headers: [],
            timestamp: 1_700_000_000_000)
    }
    _ = builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
    return unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe [UInt8]($0) }
}
