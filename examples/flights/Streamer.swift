import FoundationEssentials
import MartletClient

/// Sends the events at the pace that was asked for, and says when half of them are on their way.
struct Streamer {
    let client: MartletClient
    let topic: String
    let duration: Duration
    let onHalf: @Sendable () -> Void

    struct Result: Sendable {
        var seconds: Double
        var failures: [DeliveryFailure]
    }

    /// - Throws: `MartletError` when an event was not acknowledged within the delivery timeout.
    func run(_ events: [FlightEvent]) async throws -> Result {
        let clock = ContinuousClock()
        let start = clock.now
        let encoder = JSONEncoder()
        let failures = try await client.withProducer { producer in
            async let failures = collect(producer)
            for (index, event) in events.enumerated() {
                if index == events.count / 2 { onHalf() }
                let due = start + duration * (Double(index) / Double(max(1, events.count)))
                if clock.now < due { try await clock.sleep(until: due) }
                let record = ProducerRecord(
                    topic: topic, key: event.tailNumber.map { Array($0.utf8) },
                    value: Array(try encoder.encode(event)),
                    headers: [RecordHeader("type", event.type.rawValue)], timestamp: event.time)
                // A full buffer means that the broker is slower than we are, or away: no drop.
                try await producer.enqueueWaiting(record)
            }
            try await producer.flush()
            await producer.close()
            return await failures
        }
        let elapsed = clock.now - start
        return Result(seconds: elapsed / .seconds(1), failures: failures)
    }

    private func collect(_ producer: Producer) async -> [DeliveryFailure] {
        var all: [DeliveryFailure] = []
        for await failure in producer.failures { all.append(failure) }
        return all
    }
}
