import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What a client does about the versions that a broker says it speaks.
struct VersionTests {
    private static func broker(
        _ operation: MartletWire.Operation, _ versions: (UInt16, UInt16)?
    ) throws -> ScriptedBroker {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        offer(operation, versions, broker)
        return broker
    }

    /// nil: the operation is not offered at all.
    private static func offer(
        _ operation: MartletWire.Operation, _ versions: (UInt16, UInt16)?,
        _ broker: ScriptedBroker
    ) {
        var line = OperationVersions(operation)
        if let versions { (line.versionMin, line.versionMax) = versions }
        let lines = versions == nil ? [] : [line]
        broker.script.withLock { script in
            script.operations.removeAll { $0.operation == operation.rawValue }
            script.operations += lines
        }
    }

    @Test func `the highest common version is taken`() {
        #expect(AgreedVersions.highest(1...1, 1...1) == 1)
        #expect(AgreedVersions.highest(1...3, 2...5) == 3)
        #expect(AgreedVersions.highest(2...5, 1...3) == 3)
        #expect(AgreedVersions.highest(1...2, 3...4) == nil)
        #expect(AgreedVersions.highest(3...4, 1...2) == nil)
    }

    @Test func `a range that holds ours is no hindrance`() async throws {
        let broker = try Self.broker(.fetch, (0, 9))
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            let found = try await ConsumerTests.take(1, of: consumer)
            #expect(found.map(\.1) == ["a"])
        }
    }

    private static let strange: [(UInt16, UInt16)?] = [(2, 3), (0, 0), nil, (3, 1)]

    @Test(arguments: strange)
    func `a consumer says what it misses`(_ versions: (UInt16, UInt16)?) async throws {
        let broker = try Self.broker(.fetch, versions)
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            let error = await #expect(throws: MartletError.self) {
                _ = try await ConsumerTests.take(1, of: consumer)
            }
            #expect(error?.code == .unsupportedVersion && error?.isRetriable == false)
            #expect(error?.context["operation"] == "fetch")
            let message = error?.message ?? ""
            #expect(message.contains("speaks fetch in versions 1 to 1"))
            switch versions {
            case (2, 3)?:
                #expect(message.contains("in versions 2 to 3") && message.contains("newer client"))
            case (0, 0)?:
                #expect(message.contains("in versions 0 to 0"))
                #expect(message.contains("update the broker"))
            default:
                #expect(message.contains("does not offer fetch"))
                #expect(message.contains("update the broker"))
            }
        }
        let fetches = broker.script.withLock { $0.fetchRequests.count }
        #expect(fetches == 0)
    }

    @Test(arguments: [MartletWire.Operation.produce, .metadata, .initProducer])
    func `a producer's records fail at once, none is sent`(
        _ operation: MartletWire.Operation
    ) async throws {
        let broker = try Self.broker(operation, (7, 8))
        try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer()
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "b")
            }
            #expect(error?.code == .unsupportedVersion && error?.outcome == .notWritten)
            #expect(error?.context["operation"] == operation.name)
            // The broker is updated, and the same producer finds its way. The connection that was
            // on its way meanwhile still brings the old answer.
            Self.offer(operation, (1, 8), broker)
            var receipt: DeliveryReceipt?
            for _ in 0..<100 where receipt == nil {
                receipt = try? await producer.send(topic: "t", value: "c")
            }
            #expect(receipt?.offset == 1)
        }
        #expect(broker.records("t").map(\.value) == ["a", "c"])
    }

    @Test func `without idempotence no producer id is missed`() async throws {
        let broker = try Self.broker(.initProducer, nil)
        try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer(.init(idempotent: false))
            #expect(try await producer.send(topic: "t", value: "b").offset == 1)
        }
    }

    @Test func `a call of the administration fails alone`() async throws {
        let broker = try Self.broker(.listOffsets, (2, 2))
        try await Martlet.withClient(.testing(broker)) { client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await client.consumer(.init(topic: "t", start: .latest))
            }
            #expect(error?.code == .unsupportedVersion)
            #expect(error?.context["operation"] == "list-offsets")
            // Another one, over the same connection.
            _ = try await client.admin.metadata("t")
        }
        let hellos = broker.script.withLock { $0.hellos }
        #expect(hellos <= 2)
    }

    @Test func `a hello in a protocol version that was not offered is refused`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.protocolVersion = 2 }
        try await Martlet.withClient(.testing(broker)) { client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await client.admin.metadata("t")
            }
            #expect(error?.code == .unsupportedVersion)
            #expect(error?.message.contains("in protocol version 2") == true)
        }
    }
}
