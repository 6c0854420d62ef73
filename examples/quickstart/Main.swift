import MartletClient

@main
struct Quickstart {
    static func main() async throws {
        // The broker of MARTLET_SERVER, or of 127.0.0.1:7700.
        try await Martlet.withClient { client in
            try await client.withProducer { producer in
                // Returns when the record is on disk.
                let receipt = try await producer.send(
                    topic: "orders", key: "customer-7", value: "2 x coffee")
                print("partition \(receipt.partition), offset \(receipt.offset)")

                // Returns at once; batches leave by themselves, `flush` waits for all of them.
                for number in 1...1_000 {
                    try producer.enqueue(
                        topic: "orders", key: "customer-\(number % 10)", value: "order \(number)")
                }
                try await producer.flush()
            }

            let everything = ConsumerConfiguration(topic: "orders", start: .earliest)
            try await client.withConsumer(everything) { consumer in
                var count = 0
                for try await batch in consumer.batches {
                    for record in batch {
                        count += 1
                        guard record.keyString == "customer-7" else { continue }
                        print(record.offset, record.valueString ?? "–")
                    }
                    if count >= 1_001 { break }
                }
            }
        }
    }
}
