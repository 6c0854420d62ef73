import MartletClient
import MartletTesting
import Testing

@Test func `an order is stored once, also when its acknowledgement is lost`() async throws {
    try await MartletTestBroker.run(topics: ["orders": 4]) { broker in
        try await Martlet.withClient(broker.configuration) { client in
            try await client.withProducer { producer in
                broker.dropAcks()
                let receipt = try await producer.send(
                    topic: "orders", key: "customer-7", value: "2 x coffee")
                #expect(receipt.isDuplicate, "the retry found it there")
            }
        }
    }
}
