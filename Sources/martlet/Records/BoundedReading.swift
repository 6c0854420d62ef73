import MartletClient

/// Reads a consumer up to given offsets, or without end.
struct BoundedReading: Sendable {
    let consumer: Consumer
    /// Where to stop in each partition; nil goes on until the body or the user ends it.
    let ends: [TopicPartition: Int64]?
    /// Told what happens beside the records.
    let onEvent: @Sendable (ConsumerEvent) -> Void

    init(
        _ consumer: Consumer, ends: [TopicPartition: Int64]?,
        onEvent: @escaping @Sendable (ConsumerEvent) -> Void = { _ in }
    ) {
        self.consumer = consumer
        self.ends = ends
        self.onEvent = onEvent
    }

    /// Hands out the batches until all ends are reached, the body returns false, or the consumer is
    /// closed. All that happened is told by then, and the consumer is closed. After an error it can
    /// be read on.
    func run(_ body: (ConsumerBatch) async throws -> Bool) async throws {
        if isDone(after: nil) { return await finish() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await watch() }
            do {
                for try await batch in consumer.batches {
                    guard try await body(batch), !isDone(after: batch) else { break }
                }
            } catch {
                group.cancelAll()
                throw error
            }
            await consumer.close()
        }
    }

    /// Closes the consumer and tells what happened until then: an error leaves some of it untold.
    func finish() async {
        await consumer.close()
        for await event in consumer.events { onEvent(event) }
    }

    /// An end may lie behind offsets that hold no records: then no batch tells of it.
    private func watch() async {
        for await event in consumer.events {
            onEvent(event)
            if isDone(after: nil) { await consumer.close() }
        }
    }

    private func isDone(after batch: ConsumerBatch?) -> Bool {
        guard let ends else { return false }
        var positions = consumer.positions()
        if let batch {
            let partition = TopicPartition(batch.topic, batch.partition)
            positions[partition] = max(batch.nextOffset, positions[partition] ?? 0)
        }
        return ends.allSatisfy { positions[$0.key] ?? 0 >= $0.value }
    }
}
