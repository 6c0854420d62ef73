import MartletFormat
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Records of a queue that cannot be read.
@Suite(.timeLimit(.minutes(1))) struct QueueDamageTests {
    /// Where the damage is found.
    enum Finder: CaseIterable, Sendable {
        case member
        case broker
    }

    private final class Told: Sendable {
        let names = Mutex<[String]>([])
    }

    /// Of four batches of two records each, the second one is rotten.
    private static func rot(_ broker: ScriptedBroker, _ finder: Finder) {
        for number in 0..<4 { broker.append("t", values: ["a\(number)", "b\(number)"]) }
        broker.script.withLock { script in
            script.onFetch = { _, request, reply, attachment in
                guard let asked = request.partitions.first?.offset, asked < 4,
                    !attachment.isEmpty
                else { return }
                if finder == .broker, asked >= 2 {
                    attachment = []
                    reply.partitions[0].recordsLength = 0
                    reply.partitions[0].error = .corruptMessage
                    reply.partitions[0].damaged = [OffsetRange(2, 4)]
                    return
                }
                let first = Int(asked / 2)
                let size = attachment.count / (4 - first)
                attachment[size * (2 - first) - 1] ^= 1
            }
        }
    }

    @Test(arguments: Finder.allCases)
    func `what cannot be read is set aside and told once, and all around it goes on`(
        _ finder: Finder
    ) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        Self.rot(broker, finder)
        let (seen, told) = (Sightings(), Told())
        var configuration = QueueConfiguration("q", topics: ["t"], concurrency: 1, prefetch: 16)
        configuration.onEvent = { event in
            guard case .damaged(let partition, let range, let error) = event else { return }
            #expect(error.code == .corruptMessage && !error.message.contains(".."))
            told.names.withLock { $0.append("\(partition) \(range)") }
        }
        let member = configuration
        let address = broker.address
        try await Martlet.withClient(ClientConfiguration(server: address)) { client in
            let task = Task {
                try await client.consumeQueue(member) { record in
                    seen.add(Int(record.record.offset), by: "a")
                    return .done
                }
            }
            broker.hand("t", 0..<8, delivery: 1)
            try await broker.settled(RangeSet([0..<2, 4..<8]))
            // Its lease ran out, and it comes again with a part that is sound.
            broker.hand("t", 2..<4, delivery: 2)
            broker.hand("t", 3..<5, delivery: 3)
            try await seen.wait(for: 7)
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }
        #expect(seen.numbers == [0, 1, 4, 5, 6, 7, 4])
        #expect(told.names.withLock { $0 } == ["t/0 2..<4"])
        // Neither acked, nor given back, nor begun.
        let touched = broker.script.withLock { $0.queue.settled }.filter { $0.verb != 3 }
        #expect(!touched.contains { $0.range.from < 4 && $0.range.to > 2 })
    }
}
