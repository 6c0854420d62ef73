import MartletFormat
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What the broker cannot say now, and can soon.
@Suite(.timeLimit(.minutes(1))) struct SoonTests {
    /// As when the log changes under the reader, or memory is short.
    @Test(arguments: [ErrorCode.loading, .tooManyRequests])
    func `a record of a queue that cannot be read now is read soon`(code: ErrorCode) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        broker.script.withLock { script in
            script.onFetch = { number, _, answer, records in
                guard number < 3 else { return }
                answer.partitions[0].error = code
                answer.partitions[0].recordsLength = 0
                records = []
            }
        }
        try await Martlet.withClient(.testing(broker)) { client in
            let port = RequestPort(try client.takeContext())
            let reader = QueueReader(port: port)
            let topic = try await client.admin.metadata("t")
            var delivered = DeliveredRange()
            delivered.topic = topic.id
            delivered.range = OffsetRange(0, 1)
            let part = try await reader.read(delivered, from: 0, topic)
            #expect(part.batch?.map(\.valueString) == ["a"])
            #expect(part.end == 1)
            await port.close()
        }
        #expect(broker.script.withLock { $0.fetchRequests.count } == 3)
    }

    @Test func `a look-up is repeated while the broker says that it may help`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        broker.script.withLock { script in
            script.metadataErrors = ["t": .loading]
            script.onMetadata = { [weak broker] _ in
                broker?.script.withLock { $0.metadataErrors = [:] }
                return false
            }
            script.onListOffsets = { $0 < 3 ? .loading : .none }
        }
        try await Martlet.withClient(.testing(broker)) { client in
            #expect(try await client.admin.topic("t").partitions == 1)
            let found = try await client.admin.listOffsets("t", at: .latest)
            #expect(found.map(\.offset) == [1])
        }
    }
}
