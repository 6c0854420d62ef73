import FoundationEssentials
import MartletClient

/// Reads the topic from its first event on, keeps the board, and remembers what the check needs.
struct Viewer {
    let client: MartletClient
    let topic: String
    let expected: Int
    let screen: Screen
    let names: [String: String]

    struct Result: Sendable {
        var board = Board()
        /// Events by id, with how often each came.
        var seen: [String: Int] = [:]
        /// For each key the ids in the order of arrival.
        var perKey: [String: [String]] = [:]
        var bytes = 0
    }

    /// Returns when `expected` events came and the partitions' ends are reached.
    func run() async throws -> Result {
        let decoder = JSONDecoder()
        let clock = ContinuousClock()
        var nextPrint = clock.now
        return try await client.withConsumer(ConsumerConfiguration(topic: topic)) { consumer in
            async let narration: Void = narrate(consumer)
            var result = Result()
            for try await batch in consumer.batches {
                for record in batch {
                    guard let value = record.valueBytes else { continue }
                    let event = try decoder.decode(FlightEvent.self, from: Data(value))
                    result.bytes += value.count
                    result.board.take(event)
                    result.seen[event.id, default: 0] += 1
                    if let key = record.keyString {
                        result.perKey[key, default: []].append(event.id)
                    }
                }
                if clock.now >= nextPrint {
                    screen.show(result.board, names)
                    nextPrint = clock.now + screen.interval
                }
                if result.board.events >= expected { break }
            }
            screen.finish(result.board, names)
            await consumer.close()
            await narration
            return result
        }
    }

    private func narrate(_ consumer: Consumer) async {
        for await event in consumer.events {
            switch event {
            case .disconnected:
                screen.note("the viewer lost the broker; it waits and goes on where it was")
            case .reconnected: screen.note("the viewer is connected again")
            case .offsetsLost, .damageSkipped, .reset: screen.note("unexpected: \(event)")
            case .caughtUp, .partitionsAdded: break
            }
        }
    }
}
