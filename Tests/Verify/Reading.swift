import MartletClient

/// Reads the topic: a tail that goes on over every kill, and complete reads from the start.
struct Reading {
    let client: MartletClient
    let topic: String
    let ledger: Ledger

    /// Follows the topic until it is cancelled; everything seen goes into the ledger.
    func tail() async throws {
        try await client.withConsumer(ConsumerConfiguration(topic: topic)) { consumer in
            for try await batch in consumer.batches {
                for record in batch {
                    ledger.read(
                        record.valueBytes.flatMap(Payload.init), partition: record.partition,
                        offset: record.offset)
                }
            }
        }
    }

    /// Reads everything from the log start to the high watermark of now.
    func drain() async throws -> [Int32: [(offset: Int64, payload: Payload)]] {
        var ends: [Int32: Int64] = [:]
        for end in try await client.admin.listOffsets(topic, at: .latest) {
            ends[end.partition] = end.offset
        }
        var result: [Int32: [(offset: Int64, payload: Payload)]] = [:]
        var left = Set(ends.filter { $0.value > 0 }.keys)
        guard !left.isEmpty else { return result }
        try await client.withConsumer(ConsumerConfiguration(topic: topic)) { consumer in
            for try await batch in consumer.batches {
                for record in batch {
                    let payload = record.valueBytes.flatMap(Payload.init)
                    ledger.read(payload, partition: record.partition, offset: record.offset)
                    if let payload {
                        result[record.partition, default: []].append((record.offset, payload))
                    }
                }
                if batch.nextOffset >= ends[batch.partition] ?? 0 { left.remove(batch.partition) }
                if left.isEmpty { break }
            }
        }
        return result
    }
}
