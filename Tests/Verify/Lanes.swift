import MartletClient
import MartletTestSupport
import Synchronization

/// The load: lanes that each send one record after the other, with several idempotent producers
/// between them, so that at any moment many requests are open.
final class Lanes: Sendable {
    let topic: String
    let ledger: Ledger
    let partitions: Int32
    private let open = Atomic<Int>(0)
    private let isStopped = Atomic<Bool>(false)

    init(topic: String, partitions: Int32, ledger: Ledger) {
        self.topic = topic
        self.partitions = partitions
        self.ledger = ledger
    }

    /// Requests that wait for their answer now.
    var openRequests: Int { open.load(ordering: .relaxed) }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    /// Returns when `stop` was called and every lane has its last answer.
    func run(_ client: MartletClient, count: Int, producers: Int) async throws {
        var all: [Producer] = []
        for _ in 0..<producers { all.append(try await client.producer()) }
        let made = all
        await withTaskGroup(of: Void.self) { group in
            for lane in 0..<count {
                let producer = made[lane % made.count]
                group.addTask { await self.drive(lane, producer) }
            }
        }
        for producer in made { await producer.close() }
    }

    private func drive(_ lane: Int, _ producer: Producer) async {
        var counter = 0
        let partition = Int32(lane) % partitions
        while !isStopped.load(ordering: .relaxed) {
            let payload = Payload(lane: lane, counter: counter)
            counter += 1
            open.add(1, ordering: .relaxed)
            do {
                let receipt = try await producer.send(
                    ProducerRecord(
                        topic: topic, key: Array("\(lane)".utf8), value: payload.bytes,
                        partition: partition))
                ledger.acknowledge(payload, partition: receipt.partition, offset: receipt.offset)
            } catch {
                ledger.noteUnknown("\(error)")
            }
            open.subtract(1, ordering: .relaxed)
        }
    }
}
